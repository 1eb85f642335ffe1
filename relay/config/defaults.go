// SPDX-License-Identifier: Apache-2.0

package config

import (
	_ "embed"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// defaults is what the keys mean that a file leaves out. It is not valid by
// itself: offload is on, and only the operator knows the interface.
func defaults() *Config {
	return &Config{
		Relay: Relay{Name: hostName(), Realm: "plumbline"},
		Listen: []netip.AddrPort{
			netip.AddrPortFrom(netip.IPv4Unspecified(), 3478), // RFC 8656 §18 keeps STUN's port
			netip.AddrPortFrom(netip.IPv6Unspecified(), 3478),
		},
		Allocations: Allocations{
			LowestPort:      49152, // RFC 8656 §7.2
			HighestPort:     65535,
			DefaultLifetime: 10 * time.Minute, // RFC 8656 §3.2
			MaxLifetime:     time.Hour,        // RFC 8656 §7.2
			PerUser:         10,
			DefaultFamily:   "ipv4",
		},
		Auth:    Auth{Users: []User{}, NonceLifetime: 10 * time.Minute},
		Peers:   Peers{Allow: []netip.Prefix{}, Deny: []netip.Prefix{}},
		Offload: Offload{Enabled: true, Mode: "auto", UDPChecksum: true},
		Logs: Logs{
			Dir:             "/var/log/plumbline",
			Severity:        "info",
			Console:         true,
			MaxSize:         100 << 20,
			MaxAge:          day,
			Keep:            30,
			Compress:        "none",
			SummaryInterval: 10 * time.Second,
		},
		Admin: Admin{Socket: "/run/plumbline/relay.sock", HTTP: "127.0.0.1:9464"},
	}
}

// hostName is the default of relay.name: the host name with every character
// that a name can't have replaced by a dash.
func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		return "relay"
	}
	return sanitized(host)
}

func sanitized(host string) string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && nameRE.MatchString("x"+string(r)) {
			return r
		}
		return '-'
	}, host)
	name = strings.TrimLeft(name[:min(len(name), 64)], "-._")
	if !nameRE.MatchString(name) {
		return "relay"
	}
	return name
}

//go:embed default.yaml
var defaultFile []byte

// Default is the config of a relay that was started without a file: it works
// unprivileged on loopback, in user space, and keeps its logs and its socket
// under stateDir. credential is its one user.
func Default(stateDir string, credential User) *Config {
	c, problems := Parse("default.yaml", defaultFile)
	if problems != nil {
		panic(fmt.Sprintf("the embedded default config is not valid: %v", problems[0]))
	}
	c.Logs.Dir = filepath.Join(stateDir, "logs")
	c.Admin.Socket = filepath.Join(stateDir, "relay.sock")
	c.Auth.Users = []User{credential}
	return c
}

// StateDir is where a relay without a config file keeps its state:
// $XDG_STATE_HOME/plumbline, else ~/.local/state/plumbline. It is not created.
// As the XDG base directory specification asks, a relative XDG_STATE_HOME is
// ignored.
func StateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "plumbline"), nil
	}
	home := os.Getenv("HOME")
	if !filepath.IsAbs(home) {
		return "", errors.New("find a folder for the relay's state: set XDG_STATE_HOME or HOME to an absolute path, or name a config with --config")
	}
	return filepath.Join(home, ".local", "state", "plumbline"), nil
}

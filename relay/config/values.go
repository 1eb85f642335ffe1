// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Each function here reads one kind of value from its text. Errors say what is
// wanted; the caller puts the key and the place before them.

var nameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// instanceName is a path component and a log key: see Relay.Name.
func instanceName(s string) (string, error) {
	if !nameRE.MatchString(s) {
		return "", errors.New("want 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit")
	}
	return s, nil
}

// realm is a REALM attribute: fewer than 128 characters (RFC 8489 §14.9) of
// quoted-string text without its quotes (RFC 3261 §25.1).
func realm(s string) (string, error) {
	if n := utf8.RuneCountInString(s); n < 1 || n > 127 {
		return "", fmt.Errorf("want 1 to 127 characters, got %d", n)
	}
	if strings.ContainsAny(s, `"\`) || !printable(s) {
		return "", errors.New("quotes, backslashes and control characters are not allowed in a realm")
	}
	return s, nil
}

// userName is a USERNAME attribute: fewer than 509 bytes (RFC 8489 §14.3). The
// colon parts name, realm and password in the long-term key (RFC 8489
// §9.2.2), so a name must not hold one.
func userName(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("want a name, it is empty")
	case len(s) > 508:
		return "", fmt.Errorf("want at most 508 bytes, got %d", len(s))
	case strings.Contains(s, ":"):
		return "", errors.New("a user name must not contain a colon, which parts it from the realm in the long-term key")
	case !printable(s):
		return "", errors.New("control characters are not allowed in a user name")
	}
	return s, nil
}

// password is checked without being repeated in any error.
func password(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("want a password, it is empty")
	case len(s) > maxSecret:
		return "", fmt.Errorf("want at most %d bytes, got %d", maxSecret, len(s))
	case !printable(s):
		return "", errors.New("control characters are not allowed in a password")
	}
	return s, nil
}

func printable(s string) bool {
	return strings.IndexFunc(s, unicode.IsControl) < 0
}

// listenAddr is IP:PORT to bind a UDP socket to.
func listenAddr(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		if strings.HasPrefix(s, ":") {
			return a, fmt.Errorf("want IP:PORT, got %q: write 0.0.0.0%s and [::]%s", s, s, s)
		}
		return a, fmt.Errorf("want IP:PORT such as 0.0.0.0:3478 or [::]:3478, got %q", s)
	}
	switch ip := a.Addr(); {
	case a.Port() == 0:
		return a, fmt.Errorf("want a port from 1 to 65535, got %q", s)
	case ip.Zone() != "":
		return a, fmt.Errorf("addresses with a zone (%%%s) are not supported: use a global address or [::]", ip.Zone())
	case ip.Is4In6():
		return a, fmt.Errorf("write the IPv4 address itself: %s", netip.AddrPortFrom(ip.Unmap(), a.Port()))
	case ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a, fmt.Errorf("want a unicast address, got %q", s)
	}
	return a, nil
}

// publicIPv4 is a unicast IPv4 address; "" is none.
func publicIPv4(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() {
		return netip.Addr{}, fmt.Errorf("want an IPv4 address such as 203.0.113.7, got %q", s)
	}
	// 0.0.0.0/8 is "this network" and 240.0.0.0/4 reserved (RFC 6890).
	if b := a.As4(); b[0] == 0 || b[0] >= 224 {
		return netip.Addr{}, fmt.Errorf("want a unicast address, got %q", s)
	}
	return a, nil
}

// publicIPv6 is a unicast IPv6 address that needs no zone; "" is none.
func publicIPv6(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is6() || a.Is4In6() {
		return netip.Addr{}, fmt.Errorf("want an IPv6 address such as 2001:db8::7, got %q", s)
	}
	if a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return netip.Addr{}, fmt.Errorf("want a unicast address that peers can reach, got %q", s)
	}
	return a, nil
}

// prefix is a CIDR whose host bits are zero: one that has some set is more
// often a mistake than a habit.
func prefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			return p, fmt.Errorf("want a CIDR: write %s/%d for one address", s, a.BitLen())
		}
		return p, fmt.Errorf("want a CIDR such as 10.0.0.0/8 or fd00::/8, got %q", s)
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("write the IPv4 prefix itself instead of %q", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has bits set beyond its length: did you mean %s?", s, p.Masked())
	}
	return p, nil
}

// ports is the range LOWEST-HIGHEST of relayed ports.
type ports struct{ lowest, highest uint16 }

func (p ports) String() string { return fmt.Sprintf("%d-%d", p.lowest, p.highest) }

// portRange reads LOWEST-HIGHEST, both included. Ports below 1024 belong to the
// system (RFC 6335 §6); RFC 8656 §7.2 recommends 49152 to 65535.
func portRange(s string) (ports, error) {
	low, high, ok := strings.Cut(s, "-")
	l, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	h, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	switch {
	case !ok || err1 != nil || err2 != nil:
		return ports{}, fmt.Errorf("want LOWEST-HIGHEST such as 49152-65535, got %q", s)
	case l > h:
		return ports{}, fmt.Errorf("the lowest port %d is above the highest %d", l, h)
	case l < 1024:
		return ports{}, fmt.Errorf("want ports from 1024 to 65535, got %d", l)
	}
	return ports{uint16(l), uint16(h)}, nil
}

// duration reads what time.ParseDuration does, within bounds; step is the unit
// that it must be a multiple of.
func duration(low, high, step time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return 0, fmt.Errorf("want a duration with its unit, such as 500ms, 10s, 10m or 24h, got %q", s)
		case d < low || d > high:
			return 0, fmt.Errorf("want %s to %s, got %s", formatDuration(low), formatDuration(high), s)
		case d%step != 0:
			return 0, fmt.Errorf("want a multiple of %s, got %s", formatDuration(step), s)
		}
		return d, nil
	}
}

// formatDuration writes 10m where time.Duration writes 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1}, {"", 1}}

// size reads a number of bytes, whole, with or without a unit.
func size(low, high int64) func(string) (int64, error) {
	return func(s string) (int64, error) {
		digits := strings.TrimRight(s, "GiMKkB ")
		unit := strings.TrimLeft(s[len(digits):], " ")
		n, err := strconv.ParseUint(digits, 10, 63)
		for _, u := range sizeUnits {
			if u.name != unit || err != nil {
				continue
			}
			if v := int64(n); v <= math.MaxInt64/u.bytes && v*u.bytes >= low && v*u.bytes <= high {
				return v * u.bytes, nil
			}
			return 0, fmt.Errorf("want %s to %s, got %s", formatSize(low), formatSize(high), s)
		}
		return 0, fmt.Errorf("want a whole number of bytes, KiB, MiB, GiB, KB, MB or GB, such as 100MiB, got %q", s)
	}
}

// formatSize uses the largest binary unit that keeps the number whole.
func formatSize(n int64) string {
	for _, u := range sizeUnits[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// number reads a whole decimal number within bounds.
func number(low, high int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || len(s) > 1 && (s[0] == '0' || s[0] == '+') {
			return 0, fmt.Errorf("want a whole decimal number from %d to %d, got %s", low, high, s)
		}
		if n < low || n > high {
			return 0, fmt.Errorf("want %d to %d, got %d", low, high, n)
		}
		return n, nil
	}
}

// oneOf accepts the given words, as written.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		for _, w := range words {
			if s == w {
				return s, nil
			}
		}
		return "", fmt.Errorf("want %s, got %q", strings.Join(words, ", "), s)
	}
}

// interfaceName follows dev_valid_name in net/core/dev.c; "" is none. Whether
// the interface exists is a matter of the moment and not checked here.
func interfaceName(s string) (string, error) {
	bad := strings.ContainsAny(s, "/:") || strings.IndexFunc(s, unicode.IsSpace) >= 0 || !printable(s)
	if len(s) > 15 || s == "." || s == ".." || bad {
		return "", fmt.Errorf("want the name of a network interface (at most 15 bytes, no slash, colon or space), got %q", s)
	}
	return s, nil
}

// folder is an absolute path.
func folder(s string) (string, error) {
	if !filepath.IsAbs(s) || !printable(s) {
		return "", fmt.Errorf("want an absolute path such as /var/log/plumbline, got %q", s)
	}
	return filepath.Clean(s), nil
}

// maxSocketPath is what sockaddr_un holds before its final zero (unix(7)).
const maxSocketPath = 107

// socketPath is an absolute path for a Unix socket; "" is none.
func socketPath(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if !filepath.IsAbs(s) || !printable(s) {
		return "", fmt.Errorf(`want an absolute path such as /run/plumbline/relay.sock, or "" for none, got %q`, s)
	}
	if c := filepath.Clean(s); len(c) <= maxSocketPath {
		return c, nil
	}
	return "", fmt.Errorf("a socket's path has at most %d bytes, this one has %d", maxSocketPath, len(s))
}

// httpAddr is IP:PORT to serve HTTP on; "" is none. A name would have to be
// resolved, and could then mean another address at each start.
func httpAddr(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 {
		return "", fmt.Errorf(`want IP:PORT such as 127.0.0.1:9464, or "" for none, got %q`, s)
	}
	return a.String(), nil
}

// anyText takes what a key holds whose values are not looked at yet.
func anyText(s string) (string, error) {
	if !printable(s) {
		return "", errors.New("control characters are not allowed")
	}
	return s, nil
}

// SPDX-License-Identifier: Apache-2.0

// Package config is what an operator asks for: the relay's YAML file as a Go
// value, its defaults, its validation and the way from a watched file to a
// validated value.
//
// A Config is intent. Nothing in it says what the kernel holds; that is read
// from the kernel, elsewhere, and never inferred from here.
package config

import (
	"fmt"
	"net/netip"
	"time"
)

// Config is a validated file. Treat it as immutable.
type Config struct {
	Relay       Relay
	Listen      []netip.AddrPort
	Public      Public
	Allocations Allocations
	Auth        Auth
	Peers       Peers
	Offload     Offload
	Drain       Drain
	Logs        Logs
	Admin       Admin
}

// Relay names the instance and its realm.
type Relay struct {
	// Name is the instance: the first part of every pin's path and the relay
	// key of every log line. Letters, digits, dot, dash, underscore; default
	// the host name.
	Name  string
	Realm string
}

// Public is what clients are told and put into requests, where it differs from
// the local addresses (1:1 NAT). A zero Addr means: as the local one.
type Public struct {
	IPv4, IPv6 netip.Addr
}

// Allocations bounds what clients may hold.
type Allocations struct {
	LowestPort, HighestPort uint16
	DefaultLifetime         time.Duration
	MaxLifetime             time.Duration
	PerUser                 int    // 0: no bound
	Total                   int    // 0: no bound but the ports
	DefaultFamily           string // ipv4, ipv6, keep
}

// Auth is who may allocate.
type Auth struct {
	Users []User
	// SharedSecret is what time-limited credentials are made with; "": there
	// are none. SharedSecretFile is where it was read from; "": this file.
	SharedSecret     string
	SharedSecretFile string
	NonceLifetime    time.Duration
}

// User is one long-term credential (RFC 8489 §9.2). PasswordFile is where
// Password was read from; "": the config itself.
type User struct{ Name, Password, PasswordFile string }

// Peers extends the built-in deny list; the longest matching prefix wins, and
// of two equal ones the denial.
type Peers struct{ Allow, Deny []netip.Prefix }

// Offload is the kernel path.
type Offload struct {
	Enabled     bool
	Required    bool
	Interface   string
	Mode        string // native, generic, auto
	UDPChecksum bool
}

// Drain is how SIGTERM ends the relay.
type Drain struct {
	AlternateServer string
	Timeout         time.Duration
}

// Logs is where the evidence goes.
type Logs struct {
	Dir             string
	Severity        string // debug, info, warn, error
	Console         bool
	MaxSize         int64 // bytes
	MaxAge          time.Duration
	Keep            int    // rotated files; 0 keeps all
	Compress        string // none, zstd, gzip
	SummaryInterval time.Duration
}

// Admin is how operators and orchestrators ask. An empty Socket or HTTP is not
// served.
type Admin struct {
	Socket string
	HTTP   string // host:port
}

// Problem is one thing wrong with a file. Its Message names the key and says
// what is wanted there; it never carries a secret.
type Problem struct {
	File         string // as it was given to Parse or Load
	Line, Column int    // 1-based, columns in characters; 0: the file as a whole
	Message      string
}

// String is FILE:LINE:COL: message. A problem of the file as a whole stands at
// 1:1, so that editors can jump to every one of them.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", p.File, max(p.Line, 1), max(p.Column, 1), p.Message)
}

// Error makes a Problem an error with the text of String.
func (p Problem) Error() string { return p.String() }

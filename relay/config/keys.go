// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// key is one key of the file. This table is the only list of them: parsing,
// digests, changes, restarts and the tests all walk it.
type key struct {
	path    string // section.key, or a top-level key
	restart bool   // a change takes effect only when the relay starts again
	// read puts the value at n into c, or reports what is wrong with it.
	read func(r *reader, c *Config, path string, n ast.Node)
	// show is the value as the file would write it: a bool, a number, a string
	// or a list of strings. nil where a Config has no place for it, or where it
	// holds secrets.
	show func(c *Config) any
}

const day = 24 * time.Hour

var keys = []key{
	restart(text("relay.name", instanceName, func(c *Config) *string { return &c.Relay.Name })),
	text("relay.realm", realm, func(c *Config) *string { return &c.Relay.Realm }),

	restart(list("listen", 1, 8, listenAddr, func(c *Config) *[]netip.AddrPort { return &c.Listen })),

	restart(address("public.ipv4", publicIPv4, func(c *Config) *netip.Addr { return &c.Public.IPv4 })),
	restart(address("public.ipv6", publicIPv6, func(c *Config) *netip.Addr { return &c.Public.IPv6 })),

	{path: "allocations.ports", read: readPorts, show: func(c *Config) any {
		return ports{c.Allocations.LowestPort, c.Allocations.HighestPort}.String()
	}},
	// A LIFETIME attribute counts whole seconds (RFC 8656 §18.2).
	lasting("allocations.default_lifetime", duration(time.Second, day, time.Second), func(c *Config) *time.Duration { return &c.Allocations.DefaultLifetime }),
	lasting("allocations.max_lifetime", duration(time.Second, day, time.Second), func(c *Config) *time.Duration { return &c.Allocations.MaxLifetime }),
	integer("allocations.per_user", number(0, 1_000_000), func(c *Config) *int { return &c.Allocations.PerUser }),
	integer("allocations.total", number(0, 1_000_000), func(c *Config) *int { return &c.Allocations.Total }),
	text("allocations.default_family", oneOf("ipv4", "ipv6", "keep"), func(c *Config) *string { return &c.Allocations.DefaultFamily }),

	{path: "auth.users", read: readUsers}, // shown by name: see Diff and Digest
	{path: sharedSecret, read: readSharedSecret},
	{path: sharedSecretFile, read: readSharedSecret},
	lasting("auth.nonce_lifetime", duration(time.Second, day, time.Second), func(c *Config) *time.Duration { return &c.Auth.NonceLifetime }),

	list("peers.allow", 0, 1024, prefix, func(c *Config) *[]netip.Prefix { return &c.Peers.Allow }),
	list("peers.deny", 0, 1024, prefix, func(c *Config) *[]netip.Prefix { return &c.Peers.Deny }),

	boolean("offload.enabled", func(c *Config) *bool { return &c.Offload.Enabled }),
	boolean("offload.required", func(c *Config) *bool { return &c.Offload.Required }),
	restart(text("offload.interface", interfaceName, func(c *Config) *string { return &c.Offload.Interface })),
	restart(text("offload.mode", oneOf("auto", "native", "generic"), func(c *Config) *string { return &c.Offload.Mode })),
	boolean("offload.udp_checksum", func(c *Config) *bool { return &c.Offload.UDPChecksum }),

	text("drain.alternate_server", anyText, func(c *Config) *string { return &c.Drain.AlternateServer }),
	lasting("drain.timeout", duration(0, day, time.Millisecond), func(c *Config) *time.Duration { return &c.Drain.Timeout }),

	restart(text("logs.dir", folder, func(c *Config) *string { return &c.Logs.Dir })),
	text("logs.severity", oneOf("debug", "info", "warn", "error"), func(c *Config) *string { return &c.Logs.Severity }),
	boolean("logs.console", func(c *Config) *bool { return &c.Logs.Console }),
	{path: "logs.max_size", read: readSize, show: func(c *Config) any { return formatSize(c.Logs.MaxSize) }},
	lasting("logs.max_age", duration(time.Minute, 366*day, time.Second), func(c *Config) *time.Duration { return &c.Logs.MaxAge }),
	integer("logs.keep", number(0, 100_000), func(c *Config) *int { return &c.Logs.Keep }),
	text("logs.compress", oneOf("none", "zstd", "gzip"), func(c *Config) *string { return &c.Logs.Compress }),
	lasting("logs.summary_interval", duration(100*time.Millisecond, time.Hour, time.Millisecond), func(c *Config) *time.Duration { return &c.Logs.SummaryInterval }),

	restart(text("admin.socket", socketPath, func(c *Config) *string { return &c.Admin.Socket })),
	restart(text("admin.http", httpAddr, func(c *Config) *string { return &c.Admin.HTTP })),
}

// userKeys are the keys of one entry of auth.users.
var userKeys = []string{"name", "password", "password_file"}

// The kinds of keys. Each reads the text of a scalar of the right YAML type and
// leaves its meaning to parse.

func restart(k key) key { k.restart = true; return k }

func scalar[T any](path string, want scalarKind, parse func(string) (T, error), field func(*Config) *T, show func(T) any) key {
	return key{
		path: path,
		read: func(r *reader, c *Config, path string, n ast.Node) {
			s, ok := r.scalar(path, want, n)
			if !ok {
				return
			}
			v, err := parse(s)
			if err != nil {
				r.fail(path, n, "%v", err)
				return
			}
			*field(c) = v
		},
		show: func(c *Config) any { return show(*field(c)) },
	}
}

func text(path string, parse func(string) (string, error), field func(*Config) *string) key {
	return scalar(path, textScalar, parse, field, func(s string) any { return s })
}

func integer(path string, parse func(string) (int, error), field func(*Config) *int) key {
	return scalar(path, intScalar, parse, field, func(n int) any { return n })
}

func boolean(path string, field func(*Config) *bool) key {
	parse := func(s string) (bool, error) { return s == "true", nil }
	return scalar(path, boolScalar, parse, field, func(b bool) any { return b })
}

func lasting(path string, parse func(string) (time.Duration, error), field func(*Config) *time.Duration) key {
	return scalar(path, wordScalar, parse, field, func(d time.Duration) any { return formatDuration(d) })
}

func address(path string, parse func(string) (netip.Addr, error), field func(*Config) *netip.Addr) key {
	return scalar(path, textScalar, parse, field, func(a netip.Addr) any {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	})
}

// list is a list of low to high different values.
func list[T interface {
	comparable
	fmt.Stringer
}](path string, low, high int, parse func(string) (T, error), field func(*Config) *[]T) key {
	return key{
		path: path,
		read: func(r *reader, c *Config, path string, n ast.Node) {
			items, ok := r.items(path, n)
			if !ok {
				return
			}
			if len(items) < low || len(items) > high {
				r.fail(path, n, "want %d to %d entries, got %d", low, high, len(items))
				return
			}
			out := make([]T, 0, len(items))
			first := map[T]int{}
			for i, item := range items {
				s, ok := r.scalar(path, textScalar, item)
				if !ok {
					continue
				}
				v, err := parse(s)
				if err != nil {
					r.fail(path, item, "%v", err)
					continue
				}
				if line, again := first[v]; again {
					r.fail(path, item, "%v stands here twice, first in line %d", v, line)
					continue
				}
				first[v] = place(item).Line
				r.at[element(path, len(out))] = place(items[i])
				out = append(out, v)
			}
			*field(c) = out
		},
		show: func(c *Config) any {
			out := []string{}
			for _, v := range *field(c) {
				out = append(out, v.String())
			}
			return out
		},
	}
}

func element(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func readPorts(r *reader, c *Config, path string, n ast.Node) {
	s, ok := r.scalar(path, wordScalar, n)
	if !ok {
		return
	}
	p, err := portRange(s)
	if err != nil {
		r.fail(path, n, "%v", err)
		return
	}
	c.Allocations.LowestPort, c.Allocations.HighestPort = p.lowest, p.highest
}

func readSize(r *reader, c *Config, path string, n ast.Node) {
	s, ok := r.scalar(path, wordScalar, n)
	if !ok {
		return
	}
	v, err := size(16<<10, 1<<40)(s)
	if err != nil {
		r.fail(path, n, "%v", err)
		return
	}
	c.Logs.MaxSize = v
}

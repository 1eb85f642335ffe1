// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net/netip"
	"slices"

	"github.com/goccy/go-yaml/token"
)

// consistent checks what no key can say alone. A check is left out when one of
// the keys that it compares was refused already.
func (r *reader) consistent(c *Config) {
	r.listens(c)
	r.allocations(c)
	r.peers(c)
	r.offload(c)
}

// ok says whether none of the keys was refused.
func (r *reader) ok(paths ...string) bool {
	return !slices.ContainsFunc(paths, func(p string) bool { return r.bad[p] })
}

// blame is the place of the first of paths that the file sets, or the file as a
// whole.
func (r *reader) blame(paths ...string) token.Position {
	for _, p := range paths {
		if at, ok := r.at[p]; ok {
			return at
		}
	}
	return token.Position{}
}

func (r *reader) listens(c *Config) {
	if _, some := r.at[element("listen", 0)]; !some && !r.ok("listen") {
		return // what c holds is the default
	}
	ipv4 := !r.ok("listen") // it may be among the refused ones
	for i, a := range c.Listen {
		at := r.blame(element("listen", i), "allocations.ports")
		ipv4 = ipv4 || a.Addr().Is4()
		for j, b := range c.Listen {
			// Binding both would fail: each family's wildcard covers all of its
			// addresses (IPV6_V6ONLY keeps the families apart).
			if i != j && a.Port() == b.Port() && b.Addr().IsUnspecified() && !a.Addr().IsUnspecified() && a.Addr().Is4() == b.Addr().Is4() {
				r.report(at, "listen: %s is covered by %s: remove one of them", a, b)
			}
		}
		if low, high := c.Allocations.LowestPort, c.Allocations.HighestPort; r.ok("allocations.ports") && a.Port() >= low && a.Port() <= high {
			r.report(at, "listen: port %d lies within allocations.ports %d-%d: an allocation could take it", a.Port(), low, high)
		}
	}
	if !ipv4 {
		r.report(r.blame("listen"), "listen: want at least one IPv4 address: relayed addresses are IPv4")
	}
}

func (r *reader) allocations(c *Config) {
	a := c.Allocations
	if r.ok("allocations.default_lifetime", "allocations.max_lifetime") && a.DefaultLifetime > a.MaxLifetime {
		r.report(r.blame("allocations.default_lifetime", "allocations.max_lifetime"),
			"allocations.default_lifetime: %s is longer than allocations.max_lifetime %s", formatDuration(a.DefaultLifetime), formatDuration(a.MaxLifetime))
	}
	if r.ok("allocations.per_user", "allocations.total") && a.Total > 0 && a.PerUser > a.Total {
		r.report(r.blame("allocations.per_user", "allocations.total"),
			"allocations.per_user: %d is more than allocations.total %d", a.PerUser, a.Total)
	}
}

func (r *reader) peers(c *Config) {
	denied := map[netip.Prefix]int{}
	for i, p := range c.Peers.Deny {
		denied[p] = r.blame(element("peers.deny", i)).Line
	}
	for i, p := range c.Peers.Allow {
		if line, both := denied[p]; both {
			r.report(r.blame(element("peers.allow", i)), "peers.allow: %s stands in peers.deny too, in line %d: remove one of them", p, line)
		}
	}
}

func (r *reader) offload(c *Config) {
	o := c.Offload
	if r.ok("offload.enabled", "offload.interface") && o.Enabled && o.Interface == "" {
		r.report(r.blame("offload.interface", "offload.enabled", "offload"),
			"offload.interface: name the network interface whose packets the kernel shall relay (ip link lists them), or set offload.enabled to false")
	}
	if r.ok("offload.enabled", "offload.required") && o.Required && !o.Enabled {
		r.report(r.blame("offload.required"), "offload.required: it can't be required while offload.enabled is false")
	}
}

// Warnings are things that are valid and seldom meant, one sentence each,
// without secrets.
func (c *Config) Warnings() []string {
	var out []string
	if len(c.Auth.Users) == 0 && c.Auth.SharedSecret == "" {
		out = append(out, "auth.users is empty and there is no auth.shared_secret: nobody can make an allocation until a user is added")
	}
	for _, p := range c.Peers.Allow {
		switch {
		case p.Bits() == 0:
			out = append(out, "peers.allow: "+p.String()+" reaches every address but those with a longer denial; the built-in ones stay in force")
		case p.Addr().IsLoopback():
			out = append(out, "peers.allow: "+p.String()+" lets clients reach services on this machine")
		}
	}
	if a, err := netip.ParseAddrPort(c.Admin.HTTP); err == nil && !a.Addr().IsLoopback() {
		out = append(out, "admin.http: "+c.Admin.HTTP+" can be reached from other machines and asks for no password")
	}
	return out
}

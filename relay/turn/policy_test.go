// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestWhoMayBeReachedByDefault(t *testing.T) {
	denied := []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
		"169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1",
		"192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
		"255.255.255.255", "100.100.100.200", "168.63.129.16",
	}
	allowed := []string{"1.1.1.1", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.1", "192.167.255.255", "192.169.0.0", "198.17.255.255",
		"198.20.0.0", "223.255.255.255", "168.63.129.17"}
	denied6 := []string{
		"::", "::1", "fe80::1", "fe80::1%eth0", "febf::1", "fc00::1", "fd00:ec2::254", "fd12:3456::1", "ff02::1", "fec0::1",
		"2001:db8::1", "3fff::1", "100::1", "5f00::1",
		// Every one of these is the network that it is in, whatever is inside.
		"64:ff9b:1::808:808", "2001:0:808:808::f7f7:f7f7", "2002:808:808::1", "64:ff9b::808:808", "::808:808", "::ffff:0:808:808",
	}
	allowed6 := []string{"2606:4700::1111", "2a00:1450::1", "2003::1"}

	p := NewPolicy(nil, nil)
	for _, s := range append(denied, denied6...) {
		if rule, ok := p.Check(ip(s)); ok || !strings.HasPrefix(rule, "built-in: ") {
			t.Errorf("%s: %v %q", s, ok, rule)
		}
	}
	for _, s := range append(allowed, allowed6...) {
		if rule, ok := p.Check(ip(s)); !ok || rule != "" {
			t.Errorf("%s: %v %q", s, ok, rule)
		}
	}
	if rule, ok := p.Check(netip.Addr{}); ok || rule == "" {
		t.Error("no address at all is allowed")
	}
	if rule, ok := (&Policy{}).Check(ip("127.0.0.1")); ok {
		t.Errorf("the zero Policy allows loopback: %q", rule)
	}
}

// disguises are all ways to write an IPv4 address in IPv6.
func disguises(a netip.Addr) map[string]netip.Addr {
	b := a.As4()
	at := func(prefix string, offset int, xor byte) netip.Addr {
		out := ip(prefix).As16()
		for i := range b {
			out[offset+i] = b[i] ^ xor
		}
		return netip.AddrFrom16(out)
	}
	local := ip("64:ff9b:1::").As16()
	local[6], local[7], local[9], local[10] = b[0], b[1], b[2], b[3]
	return map[string]netip.Addr{
		"IPv4-mapped":        at("::ffff:0:0", 12, 0),
		"IPv4-compatible":    at("::", 12, 0),
		"IPv4-translated":    at("::ffff:0:0:0", 12, 0),
		"NAT64":              at("64:ff9b::", 12, 0),
		"local NAT64 /96":    at("64:ff9b:1::", 12, 0),
		"local NAT64 /48":    netip.AddrFrom16(local),
		"6to4":               at("2002::1", 2, 0),
		"Teredo server":      at("2001::", 4, 0),
		"Teredo client":      at("2001:0:808:808::", 12, 0xFF),
		"ISATAP":             at("2606:4700::5efe:0:0", 12, 0),
		"ISATAP, global bit": at("2606:4700::200:5efe:0:0", 12, 0),
	}
}

// Even an operator who opens a transition prefix opens only what may be reached
// in IPv4 (CVE-2020-26262 and its kin).
func TestEveryDisguiseOfADeniedAddress(t *testing.T) {
	open := NewPolicy(prefixes("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "2606:4700::/32"), nil)
	own := []netip.Addr{ip("8.8.4.4"), ip("::ffff:8.8.4.5")}
	for _, s := range []string{"127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.1.1", "100.64.1.1", "224.0.0.1", "8.8.4.4", "8.8.4.5"} {
		for name, a := range disguises(ip(s)) {
			if rule, ok := open.check(a, own); ok {
				t.Errorf("%s as %s (%s) is allowed by %q", s, name, a, rule)
			}
		}
	}
	for name, a := range disguises(ip("9.9.9.9")) {
		if rule, ok := open.check(a, own); !ok && !strings.HasPrefix(name, "Teredo server") && !strings.HasPrefix(name, "local NAT64") {
			t.Errorf("9.9.9.9 as %s (%s) is denied by %q", name, a, rule)
		}
	}
	// Without such an operator none of them passes.
	for _, s := range []string{"127.0.0.1", "10.1.2.3", "9.9.9.9"} {
		for name, a := range disguises(ip(s)) {
			_, ok := NewPolicy(nil, nil).Check(a)
			mayPass := s == "9.9.9.9" && (name == "IPv4-mapped" || strings.HasPrefix(name, "ISATAP"))
			if ok != mayPass {
				t.Errorf("%s as %s: %v", s, name, ok)
			}
		}
	}
}

func TestLongestMatchWins(t *testing.T) {
	for _, test := range []struct {
		name        string
		allow, deny []netip.Prefix
		peer        string
		ok          bool
		rule        string
	}{
		{"allow opens a built-in network", prefixes("10.0.0.0/8"), nil, "10.1.1.1", true, "peers.allow 10.0.0.0/8"},
		{"a part of it", prefixes("10.1.0.0/16"), nil, "10.2.1.1", false, "built-in: private 10.0.0.0/8"},
		{"allowing all does not open the built-in ones", prefixes("0.0.0.0/0"), nil, "10.1.1.1", false, "built-in: private 10.0.0.0/8"},
		{"nor the metadata in an allowed network", prefixes("169.254.0.0/16"), nil, "169.254.169.254", false, "built-in: cloud metadata 169.254.169.254/32"},
		{"but by its own address", prefixes("169.254.169.254/32"), nil, "169.254.169.254", true, "peers.allow 169.254.169.254/32"},
		{"deny the Internet", nil, prefixes("0.0.0.0/0"), "8.8.8.8", false, "peers.deny 0.0.0.0/0"},
		{"but for one", prefixes("8.8.8.8/32"), prefixes("0.0.0.0/0"), "8.8.8.8", true, "peers.allow 8.8.8.8/32"},
		{"deny within allow", prefixes("10.0.0.0/8"), prefixes("10.1.0.0/16"), "10.1.1.1", false, "peers.deny 10.1.0.0/16"},
		{"allow within deny", prefixes("10.1.1.0/24"), prefixes("10.1.0.0/16"), "10.1.1.1", true, "peers.allow 10.1.1.0/24"},
		{"of two equal ones the denial", prefixes("10.1.0.0/16"), prefixes("10.1.0.0/16"), "10.1.1.1", false, "peers.deny 10.1.0.0/16"},
		{"unmasked", prefixes("10.1.2.3/8"), nil, "10.9.9.9", true, "peers.allow 10.0.0.0/8"},
		{"written as IPv4-mapped", prefixes("::ffff:10.0.0.0/104"), nil, "10.9.9.9", true, "peers.allow 10.0.0.0/8"},
		{"IPv6", prefixes("fd00::/16"), prefixes("fd00:1::/32"), "fd00:1::1", false, "peers.deny fd00:1::/32"},
		{"IPv6 allowed", prefixes("fd00::/16"), prefixes("fd00:1::/32"), "fd00:2::1", true, "peers.allow fd00::/16"},
	} {
		if rule, ok := NewPolicy(test.allow, test.deny).Check(ip(test.peer)); ok != test.ok || rule != test.rule {
			t.Errorf("%s: %v %q", test.name, ok, rule)
		}
	}
}

func TestOwnAddresses(t *testing.T) {
	own := []netip.Addr{ip("8.8.4.4"), ip("127.0.0.1"), ip("fd00::1")}
	for _, test := range []struct {
		allow []netip.Prefix
		deny  []netip.Prefix
		peer  string
		ok    bool
	}{
		{nil, nil, "8.8.4.4", false},
		{prefixes("0.0.0.0/0"), nil, "8.8.4.4", false},
		{prefixes("8.8.4.4/32"), nil, "8.8.4.4", true},
		{prefixes("8.8.4.0/24"), nil, "8.8.4.4", true},
		{prefixes("8.8.4.0/24"), prefixes("8.8.4.4/32"), "8.8.4.4", false},
		{nil, nil, "127.0.0.1", false},
		{prefixes("127.0.0.0/8"), nil, "127.0.0.1", true},
		{prefixes("::/0"), nil, "fd00::1", false},
		{nil, nil, "8.8.4.5", true},
	} {
		if rule, ok := NewPolicy(test.allow, test.deny).check(ip(test.peer), own); ok != test.ok {
			t.Errorf("%v %v %s: %v %q", test.allow, test.deny, test.peer, ok, rule)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"slices"
)

// Policy decides which peers clients may reach. A relay inside a network is a
// door into it, so the built-in rules refuse all that is not the public
// Internet, in every way that IPv6 has of writing it, and the operator's rules
// open what is wanted.
//
// The longest matching prefix decides. Where an operator's rule and a built-in
// one are equally long, the operator's counts; of two rules of the operator,
// the denial. An IPv6 address that contains an IPv4 address must pass twice: as
// what it is, and as what it contains.
//
// A Policy is immutable and safe for concurrent use.
type Policy struct{ rules []rule }

// rule is one prefix with its verdict and the words for the log.
type rule struct {
	prefix netip.Prefix
	allow  bool
	text   string
}

// NewPolicy puts the operator's prefixes above the built-in rules. Prefixes are
// masked; one in the IPv4-mapped range counts as the IPv4 prefix that it is.
func NewPolicy(allow, deny []netip.Prefix) *Policy {
	p := &Policy{}
	add := func(prefixes []netip.Prefix, allow bool, list string) {
		for _, prefix := range prefixes {
			if !prefix.IsValid() {
				continue
			}
			if a := prefix.Addr(); a.Is4In6() && prefix.Bits() >= 96 {
				prefix = netip.PrefixFrom(a.Unmap(), prefix.Bits()-96)
			}
			prefix = prefix.Masked()
			p.rules = append(p.rules, rule{prefix, allow, "peers." + list + " " + prefix.String()})
		}
	}
	add(deny, false, "deny")
	add(allow, true, "allow")
	// Stable: where lengths are equal, denials stay before allowances.
	slices.SortStableFunc(p.rules, func(a, b rule) int { return b.prefix.Bits() - a.prefix.Bits() })
	return p
}

// Check is the verdict on a peer and the rule that decided; for a peer that no
// rule matches the text is empty and the peer allowed.
func (p *Policy) Check(peer netip.Addr) (rule string, allowed bool) { return p.check(peer, nil) }

// check is Check for a relay with addresses of its own. One of these can be a
// peer only where a rule of the operator's, other than one that allows
// everything, allows it: services that trust the local host listen there.
func (p *Policy) check(peer netip.Addr, own []netip.Addr) (string, bool) {
	if !peer.IsValid() {
		return "not an address", false
	}
	peer = peer.WithZone("")
	if peer.Is4In6() {
		peer = peer.Unmap()
	}
	text, ok := p.verdict(peer, own)
	if !ok {
		return text, false
	}
	for _, inner := range embedded(peer) {
		if why, ok := p.verdict(inner, own); !ok {
			return why + " (inside " + peer.String() + ")", false
		}
	}
	return text, true
}

func (p *Policy) verdict(peer netip.Addr, own []netip.Addr) (string, bool) {
	theirs := longest(p.rules, peer)
	if slices.ContainsFunc(own, func(a netip.Addr) bool { return a.Unmap().WithZone("") == peer }) {
		if theirs == nil || !theirs.allow || theirs.prefix.Bits() == 0 {
			return "the relay's own address", false
		}
	}
	ours := longest(builtin, peer)
	switch {
	case theirs != nil && (ours == nil || theirs.prefix.Bits() >= ours.prefix.Bits()):
		return theirs.text, theirs.allow
	case ours != nil:
		return ours.text, ours.allow
	}
	return "", true
}

// hairpin is the verdict on our own public relayed address. The built-in rules
// don't apply to it, an operator's denial does.
func (p *Policy) hairpin(public netip.Addr) (string, bool) {
	if r := longest(p.rules, public); r != nil && !r.allow {
		return r.text, false
	}
	return "", true
}

// opens is true when the operator allows an own address with all its ports.
func (p *Policy) opens(own netip.Addr) bool {
	r := longest(p.rules, own)
	return r != nil && r.allow && r.prefix.Bits() > 0
}

// longest is the first match among rules that are sorted by falling length.
func longest(rules []rule, peer netip.Addr) *rule {
	for i := range rules {
		if rules[i].prefix.Contains(peer) {
			return &rules[i]
		}
	}
	return nil
}

// embedded lists the IPv4 addresses that a translator or tunnel might make of
// an IPv6 address.
func embedded(peer netip.Addr) []netip.Addr {
	if !peer.Is6() {
		return nil
	}
	b := peer.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	var found []netip.Addr
	switch {
	case compatible.Contains(peer), translated.Contains(peer), nat64.Contains(peer):
		found = append(found, at(12))
	case nat64Local.Contains(peer):
		// RFC 6052 §2.2: how it is laid out depends on the prefix length that
		// the site chose; both of these fit into the /48.
		found = append(found, at(12), netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}))
	case sixToFour.Contains(peer):
		found = append(found, at(2))
	case teredo.Contains(peer):
		client := at(12).As4()
		for i := range client {
			client[i] ^= 0xFF
		}
		found = append(found, at(4), netip.AddrFrom4(client))
	}
	// ISATAP (RFC 5214 §6.1) marks its addresses under any prefix.
	if b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5E && b[11] == 0xFE {
		found = append(found, at(12))
	}
	return found
}

// Ways to write IPv4 in IPv6, beside the IPv4-mapped one.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291 §2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765 §2.1
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
)

// builtin refuses what is not meant to be reached from the Internet (RFC 6890
// and its registries). It is never changed after initialization.
var builtin = builtinRules([][2]string{
	{"0.0.0.0/8", "unspecified"},
	{"10.0.0.0/8", "private"},
	{"100.64.0.0/10", "carrier-grade NAT"},
	{"127.0.0.0/8", "loopback"},
	{"169.254.0.0/16", "link-local"},
	{"172.16.0.0/12", "private"},
	{"192.0.0.0/24", "protocol assignments"},
	{"192.0.2.0/24", "documentation"},
	{"192.88.99.0/24", "6to4 relays"},
	{"192.168.0.0/16", "private"},
	{"198.18.0.0/15", "benchmarking"},
	{"198.51.100.0/24", "documentation"},
	{"203.0.113.0/24", "documentation"},
	{"224.0.0.0/4", "multicast"},
	{"240.0.0.0/4", "reserved"},
	{"255.255.255.255/32", "broadcast"},

	// Single addresses, so that allowing the network around one does not allow
	// it: what answers there hands out the host's cloud credentials.
	{"100.100.100.200/32", "cloud metadata"},
	{"168.63.129.16/32", "cloud metadata"},
	{"169.254.169.254/32", "cloud metadata"},
	{"169.254.170.2/32", "cloud metadata"},
	{"169.254.170.23/32", "cloud metadata"},
	{"192.0.0.192/32", "cloud metadata"},
	{"fd00:ec2::23/128", "cloud metadata"},
	{"fd00:ec2::254/128", "cloud metadata"},
	{"fd20:ce::254/128", "cloud metadata"},

	{"::/128", "unspecified"},
	{"::1/128", "loopback"},
	{"::/96", "IPv4-compatible"},
	{"::ffff:0:0:0/96", "IPv4-translated"},
	{"64:ff9b::/96", "NAT64"},
	{"64:ff9b:1::/48", "local NAT64"},
	{"100::/64", "discard-only"},
	{"2001::/23", "protocol assignments"},
	{"2001::/32", "Teredo"},
	{"2001:db8::/32", "documentation"},
	{"2002::/16", "6to4"},
	{"3fff::/20", "documentation"},
	{"5f00::/16", "segment routing"},
	{"fc00::/7", "private"},
	{"fe80::/10", "link-local"},
	{"fec0::/10", "site-local"},
	{"ff00::/8", "multicast"},
})

func builtinRules(list [][2]string) []rule {
	rules := make([]rule, len(list))
	for i, entry := range list {
		rules[i] = rule{netip.MustParsePrefix(entry[0]), false, "built-in: " + entry[1] + " " + entry[0]}
	}
	slices.SortStableFunc(rules, func(a, b rule) int { return b.prefix.Bits() - a.prefix.Bits() })
	return rules
}

// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"fmt"
	"net"
	"net/netip"
)

// Topology says which hosts there are and how they are joined.
type Topology struct {
	Networks []Network
	Hosts    []HostSpec
}

// Network is one bridge of the switch and the subnets used on it.
type Network struct {
	Name string       // at most 12 bytes
	IPv4 netip.Prefix // a /24 or shorter
	IPv6 netip.Prefix // invalid: no IPv6 on this network
}

// HostSpec is one host to make.
type HostSpec struct {
	Name       string          // at most 12 bytes, unique in the topology
	Interfaces []InterfaceSpec // eth0, eth1, … in this order
	Routes     []Route         // beyond the on-link ones
	Forward    bool            // forward packets between its interfaces
}

// InterfaceSpec joins a host to a network.
type InterfaceSpec struct {
	Network string
	Host    int // 1 to 254: the host's number within the network's subnets
}

// Route is a route through a gateway.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// The networks of the ready-made topologies. All are private ranges that exist
// only inside the bed.
var (
	mainNet  = Network{Name: "main", IPv4: netip.MustParsePrefix("10.77.0.0/24"), IPv6: netip.MustParsePrefix("fd77::/64")}
	otherNet = Network{Name: "other", IPv4: netip.MustParsePrefix("10.77.1.0/24"), IPv6: netip.MustParsePrefix("fd77:0:0:1::/64")}
)

// Flat is the default: client 10.77.0.10, relay .20 and peer .30 on one network,
// then the extra hosts from .40 on in steps of one.
func Flat(extra ...string) Topology {
	t := Topology{
		Networks: []Network{mainNet},
		Hosts: []HostSpec{
			{Name: "client", Interfaces: []InterfaceSpec{{mainNet.Name, 10}}},
			{Name: "relay", Interfaces: []InterfaceSpec{{mainNet.Name, 20}}},
			{Name: "peer", Interfaces: []InterfaceSpec{{mainNet.Name, 30}}},
		},
	}
	for i, name := range extra {
		t.Hosts = append(t.Hosts, HostSpec{Name: name, Interfaces: []InterfaceSpec{{mainNet.Name, 40 + i}}})
	}
	return t
}

// Routed puts the peer (10.77.1.30) behind a host named gateway, which has eth0
// 10.77.0.1 on the network of client (.10) and relay (.20), and eth1 10.77.1.1.
func Routed() Topology {
	there := []Route{
		{otherNet.IPv4, nth(mainNet.IPv4, 1)},
		{otherNet.IPv6, nth(mainNet.IPv6, 1)},
	}
	back := []Route{
		{mainNet.IPv4, nth(otherNet.IPv4, 1)},
		{mainNet.IPv6, nth(otherNet.IPv6, 1)},
	}
	return Topology{
		Networks: []Network{mainNet, otherNet},
		Hosts: []HostSpec{
			{Name: "client", Interfaces: []InterfaceSpec{{mainNet.Name, 10}}, Routes: there},
			{Name: "relay", Interfaces: []InterfaceSpec{{mainNet.Name, 20}}, Routes: there},
			{Name: "gateway", Interfaces: []InterfaceSpec{{mainNet.Name, 1}, {otherNet.Name, 1}}, Forward: true},
			{Name: "peer", Interfaces: []InterfaceSpec{{otherNet.Name, 30}}, Routes: back},
		},
	}
}

// TwoArmed gives the relay two interfaces: eth0 10.77.0.20 on the client's
// network and eth1 10.77.1.20 on the peer's. Nothing forwards between the two,
// so what gets across went through a relay.
func TwoArmed() Topology {
	return Topology{
		Networks: []Network{mainNet, otherNet},
		Hosts: []HostSpec{
			{Name: "client", Interfaces: []InterfaceSpec{{mainNet.Name, 10}}},
			{Name: "relay", Interfaces: []InterfaceSpec{{mainNet.Name, 20}, {otherNet.Name, 20}}},
			{Name: "peer", Interfaces: []InterfaceSpec{{otherNet.Name, 30}}},
		},
	}
}

// check finds mistakes that would otherwise surface as an obscure netlink error.
func (t Topology) check() error {
	networks := map[string]Network{}
	for _, n := range t.Networks {
		if err := checkName("network", n.Name); err != nil {
			return err
		}
		if !n.IPv4.Addr().Is4() || n.IPv4.Bits() > 24 {
			return fmt.Errorf("network %s: IPv4 is %v, want an IPv4 prefix of /24 or shorter", n.Name, n.IPv4)
		}
		if n.IPv6.IsValid() && (!n.IPv6.Addr().Is6() || n.IPv6.Bits() > 112) {
			return fmt.Errorf("network %s: IPv6 is %v, want an IPv6 prefix of /112 or shorter", n.Name, n.IPv6)
		}
		if _, twice := networks[n.Name]; twice {
			return fmt.Errorf("network %s is there twice", n.Name)
		}
		networks[n.Name] = n
	}
	hosts := map[string]bool{switchName: true}
	taken := map[netip.Addr]string{}
	for _, h := range t.Hosts {
		if err := checkName("host", h.Name); err != nil {
			return err
		}
		if hosts[h.Name] {
			return fmt.Errorf("host %s is there twice (%q is the switch's own name)", h.Name, switchName)
		}
		hosts[h.Name] = true
		if len(h.Interfaces) > 10 {
			return fmt.Errorf("host %s has %d interfaces, want at most 10", h.Name, len(h.Interfaces))
		}
		for _, i := range h.Interfaces {
			n, ok := networks[i.Network]
			if !ok {
				return fmt.Errorf("host %s is on network %q, which the topology does not have", h.Name, i.Network)
			}
			if i.Host < 1 || i.Host > 254 {
				return fmt.Errorf("host %s has number %d on network %s, want 1 to 254", h.Name, i.Host, i.Network)
			}
			addr := nth(n.IPv4, i.Host)
			if other, ok := taken[addr]; ok {
				return fmt.Errorf("hosts %s and %s both have address %s", other, h.Name, addr)
			}
			taken[addr] = h.Name
		}
	}
	return nil
}

// checkName keeps names short enough that the switch's ends, NAME-N, are valid
// link names (IFNAMSIZ is 16 with its zero), and free of path separators.
func checkName(what, name string) error {
	if name == "" || len(name) > 12 {
		return fmt.Errorf("%s name %q: want 1 to 12 bytes", what, name)
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			return fmt.Errorf("%s name %q: want only a-z and 0-9", what, name)
		}
	}
	return nil
}

// nth returns the nth address of a prefix, 0 < n < 255.
func nth(p netip.Prefix, n int) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	b[len(b)-1] = byte(n)
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// macFor makes a locally administered unicast address that names the IPv4
// address it belongs to, so that a dump of MACs can be read.
func macFor(a netip.Addr) net.HardwareAddr {
	b := a.As4()
	return net.HardwareAddr{0x02, 0x00, b[0], b[1], b[2], b[3]}
}

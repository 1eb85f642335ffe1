// SPDX-License-Identifier: Apache-2.0

package nexthop_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"plumbline/relay/nexthop"
	"plumbline/relay/testbed"
)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func resolverOn(t *testing.T, h *testbed.Host) *nexthop.Resolver {
	t.Helper()
	var r *nexthop.Resolver
	if err := h.Do(func() (err error) { r, err = nexthop.NewResolver(); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func resolve(t *testing.T, h *testbed.Host, addrs ...netip.Addr) {
	t.Helper()
	for _, a := range addrs {
		if _, err := h.Resolve(deadline(t), a); err != nil {
			t.Fatal(err)
		}
	}
}

func mac(a net.HardwareAddr) (m nexthop.MAC) { copy(m[:], a); return m }

func TestResolvesOnLinkAndThroughAGateway(t *testing.T) {
	b := testbed.New(t, testbed.Options{Topology: testbed.Routed(), MTU: 1400})
	relay, client, gateway, peer := b.Host("relay"), b.Host("client"), b.Host("gateway"), b.Host("peer")
	r := resolverOn(t, relay)
	for _, tc := range []struct {
		remote, neighbour netip.Addr
		mac               net.HardwareAddr
	}{
		{client.Addr(), client.Addr(), client.Interfaces[0].MAC},
		{peer.Addr(), gateway.Addr(), gateway.Interfaces[0].MAC},
	} {
		hop, err := r.Resolve(relay.Addr(), tc.remote)
		if !errors.Is(err, nexthop.ErrUnresolved) {
			t.Fatalf("before any traffic: %+v, %v, want ErrUnresolved", hop, err)
		}
		want := nexthop.NextHop{Ifindex: relay.Interfaces[0].Index, SrcMAC: mac(relay.Interfaces[0].MAC), MTU: 1400, Neighbour: tc.neighbour}
		if hop != want {
			t.Errorf("unresolved: got %+v, want %+v", hop, want)
		}
		resolve(t, relay, tc.neighbour)
		hop, err = r.Resolve(relay.Addr(), tc.remote)
		if err != nil {
			t.Fatal(err)
		}
		want.DstMAC = mac(tc.mac)
		if hop != want {
			t.Errorf("got %+v, want %+v", hop, want)
		}
		if mapped, err := r.Resolve(netip.AddrFrom16(relay.Addr().As16()), netip.AddrFrom16(tc.remote.As16())); err != nil || mapped != hop {
			t.Errorf("4-in-6 addresses: got %+v, %v, want %+v", mapped, err, hop)
		}
	}
}

func TestSourceAddressPicksTheDevice(t *testing.T) {
	b := testbed.New(t, testbed.Options{Topology: testbed.TwoArmed()})
	relay, peer := b.Host("relay"), b.Host("peer")
	resolve(t, relay, peer.Addr())
	r := resolverOn(t, relay)
	hop, err := r.Resolve(relay.Interfaces[1].IPv4, peer.Addr())
	if err != nil || hop.Ifindex != relay.Interfaces[1].Index || hop.SrcMAC != mac(relay.Interfaces[1].MAC) {
		t.Fatalf("got %+v, %v, want eth1", hop, err)
	}
	// A rule by source sends the other address's traffic another way.
	rule := netlink.NewRule()
	rule.Src = &net.IPNet{IP: relay.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}
	rule.Table, rule.Family = 100, unix.AF_INET
	if err := relay.Netlink().RuleAdd(rule); err != nil {
		t.Fatal(err)
	}
	if err := relay.Netlink().RouteAdd(&netlink.Route{Table: 100, Gw: b.Host("client").Addr().AsSlice(), LinkIndex: relay.Interfaces[0].Index}); err != nil {
		t.Fatal(err)
	}
	hop, err = r.Resolve(relay.Addr(), peer.Addr())
	if !errors.Is(err, nexthop.ErrUnresolved) || hop.Neighbour != b.Host("client").Addr() || hop.Ifindex != relay.Interfaces[0].Index {
		t.Errorf("by rule: got %+v, %v, want the client as gateway on eth0", hop, err)
	}
}

func TestTypedErrors(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	relay := b.Host("relay")
	r := resolverOn(t, relay)
	addr := netip.MustParseAddr
	nl := relay.Netlink()
	route := func(typ int, dst string) {
		t.Helper()
		if err := nl.RouteAdd(&netlink.Route{Type: typ, Dst: &net.IPNet{IP: net.ParseIP(dst).To4(), Mask: net.CIDRMask(32, 32)}}); err != nil {
			t.Fatal(err)
		}
	}
	route(unix.RTN_UNREACHABLE, "192.0.2.1")
	route(unix.RTN_PROHIBIT, "192.0.2.2")
	route(unix.RTN_BLACKHOLE, "192.0.2.3")
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN}
	if err := relay.Do(func() error { return netlink.LinkAdd(tun) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nl.LinkDel(tun) })
	if err := nl.LinkSetUp(tun); err != nil {
		t.Fatal(err)
	}
	if err := nl.RouteAdd(&netlink.Route{LinkIndex: tun.Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.ParseIP("192.0.2.4").To4(), Mask: net.CIDRMask(32, 32)}}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name          string
		local, remote netip.Addr
		want          error
	}{
		{"own address", relay.Addr(), relay.Addr(), nexthop.ErrLocal},
		{"loopback", relay.Addr(), addr("127.0.0.1"), nexthop.ErrLocal},
		{"no route", relay.Addr(), addr("198.51.100.1"), nexthop.ErrUnreachable},
		{"unreachable", relay.Addr(), addr("192.0.2.1"), nexthop.ErrUnreachable},
		{"prohibit", relay.Addr(), addr("192.0.2.2"), nexthop.ErrUnreachable},
		{"blackhole", relay.Addr(), addr("192.0.2.3"), nexthop.ErrUnreachable},
		{"tunnel", relay.Addr(), addr("192.0.2.4"), nexthop.ErrNotEthernet},
		{"broadcast", relay.Addr(), addr("10.77.0.255"), nexthop.ErrUnreachable},
		{"multicast", relay.Addr(), addr("224.0.0.1"), nexthop.ErrUnreachable},
		{"unspecified", relay.Addr(), addr("0.0.0.0"), nexthop.ErrUnreachable},
		{"not our source", addr("10.77.0.99"), b.Host("peer").Addr(), nexthop.ErrUnreachable},
		{"any source", addr("0.0.0.0"), b.Host("peer").Addr(), nexthop.ErrUnresolved},
		{"IPv6", relay.Addr6(), b.Host("peer").Addr6(), nexthop.ErrNotIPv4},
	} {
		hop, err := r.Resolve(tc.local, tc.remote)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got %+v, %v, want %v", tc.name, hop, err, tc.want)
		}
		if tc.want != nexthop.ErrUnresolved && hop != (nexthop.NextHop{}) {
			t.Errorf("%s: got %+v beside the error", tc.name, hop)
		}
	}
}

func TestNeighbourStates(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	relay := b.Host("relay")
	r := resolverOn(t, relay)
	remote := netip.MustParseAddr("10.77.0.99")
	want := nexthop.MAC{2, 0, 0, 0, 0, 9}
	for _, tc := range []struct {
		state int
		err   error
		stale bool
	}{
		{unix.NUD_PERMANENT, nil, false},
		{unix.NUD_REACHABLE, nil, false},
		{unix.NUD_STALE, nil, true},
		{unix.NUD_DELAY, nil, false},
		{unix.NUD_PROBE, nil, false},
		{unix.NUD_FAILED, nexthop.ErrUnresolved, false},
		{unix.NUD_NOARP, nexthop.ErrUnresolved, false},
	} {
		n := &netlink.Neigh{LinkIndex: relay.Interfaces[0].Index, IP: remote.AsSlice(), State: tc.state, HardwareAddr: want[:]}
		if err := relay.Netlink().NeighSet(n); err != nil {
			t.Fatal(err)
		}
		hop, err := r.Resolve(relay.Addr(), remote)
		if !errors.Is(err, tc.err) || err == nil && (hop.DstMAC != want || hop.Stale != tc.stale) {
			t.Errorf("state %#x: got %+v, %v, want stale %t, %v", tc.state, hop, err, tc.stale, tc.err)
		}
	}
}

func TestMTUIsTheRoutesIfSmaller(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	relay, peer := b.Host("relay"), b.Host("peer")
	resolve(t, relay, peer.Addr())
	r := resolverOn(t, relay)
	for _, tc := range []struct{ route, want int }{{1300, 1300}, {9000, 1500}} {
		if err := relay.Netlink().RouteReplace(&netlink.Route{
			LinkIndex: relay.Interfaces[0].Index, Scope: netlink.SCOPE_LINK, MTU: tc.route,
			Dst: &net.IPNet{IP: peer.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)},
		}); err != nil {
			t.Fatal(err)
		}
		hop, err := r.Resolve(relay.Addr(), peer.Addr())
		if err != nil || hop.MTU != tc.want {
			t.Errorf("route MTU %d: got %+v, %v, want MTU %d", tc.route, hop, err, tc.want)
		}
	}
}

// TestConfirmKeepsANeighbourFresh shortens the kernel's times to see an entry go
// stale, and then not go stale while it is confirmed.
func TestConfirmKeepsANeighbourFresh(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	relay, peer := b.Host("relay"), b.Host("peer")
	const reachable = 400 * time.Millisecond // the kernel takes 0.5 to 1.5 of it
	if err := relay.Do(func() error {
		for name, value := range map[string]string{"base_reachable_time_ms": "400", "delay_first_probe_time": "0"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/neigh/eth0/"+name, []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	r := resolverOn(t, relay)
	resolve(t, relay, peer.Addr())
	sent := transmitted(t, relay)
	confirming := time.NewTicker(reachable / 20)
	defer confirming.Stop()
	for end := time.Now().Add(4 * reachable); time.Now().Before(end); <-confirming.C {
		if err := r.Confirm(relay.Addr(), peer.Addr()); err != nil {
			t.Fatal(err)
		}
		hop, err := r.Resolve(relay.Addr(), peer.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if hop.Stale {
			t.Fatal("went stale although it was confirmed")
		}
	}
	if now := transmitted(t, relay); now != sent {
		t.Errorf("confirming sent %d packets, want none", now-sent)
	}
	for end := time.Now().Add(20 * reachable); ; <-confirming.C {
		hop, err := r.Resolve(relay.Addr(), peer.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if hop.Stale {
			break
		}
		if time.Now().After(end) {
			t.Fatal("did not go stale without confirmation: the test shows nothing")
		}
	}
}

// transmitted counts the IPv4 packets that the host has sent.
func transmitted(t *testing.T, h *testbed.Host) (packets uint64) {
	t.Helper()
	if err := h.Do(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		var names []string
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if f[0] != "Ip:" {
				continue
			}
			if names == nil {
				names = f
				continue
			}
			packets, err = strconv.ParseUint(f[slices.Index(names, "OutRequests")], 10, 64)
			return err
		}
		return errors.New("no IPv4 counters in /proc/net/snmp")
	}); err != nil {
		t.Fatal(err)
	}
	return packets
}

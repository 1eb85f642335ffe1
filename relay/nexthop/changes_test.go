// SPDX-License-Identifier: Apache-2.0

package nexthop_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"plumbline/relay/nexthop"
	"plumbline/relay/testbed"
)

func changesOn(t *testing.T, ctx context.Context, h *testbed.Host) <-chan nexthop.Batch {
	t.Helper()
	var ch <-chan nexthop.Batch
	if err := h.Do(func() (err error) { ch, err = nexthop.Changes(ctx); return err }); err != nil {
		t.Fatal(err)
	}
	return ch
}

// affected waits for a batch that concerns a flow.
func affected(t *testing.T, what string, ch <-chan nexthop.Batch, local, remote netip.Addr, hop nexthop.NextHop) {
	t.Helper()
	ctx := deadline(t)
	for {
		select {
		case b, ok := <-ch:
			if !ok {
				t.Fatalf("%s: the watch ended", what)
			}
			if b.Affects(local, remote, hop) {
				return
			}
		case <-ctx.Done():
			t.Fatalf("%s: no change was reported for the flow", what)
		}
	}
}

func TestChangesConcernTheirFlows(t *testing.T) {
	b := testbed.New(t, testbed.Options{Topology: testbed.Routed()})
	relay, client, gateway, peer := b.Host("relay"), b.Host("client"), b.Host("gateway"), b.Host("peer")
	nl := relay.Netlink()
	r := resolverOn(t, relay)
	ch := changesOn(t, t.Context(), relay)

	hop, err := r.Resolve(relay.Addr(), peer.Addr())
	if !errors.Is(err, nexthop.ErrUnresolved) {
		t.Fatal(err)
	}
	resolve(t, relay, gateway.Addr())
	affected(t, "the gateway resolved", ch, relay.Addr(), peer.Addr(), hop)
	if hop, err = r.Resolve(relay.Addr(), peer.Addr()); err != nil {
		t.Fatal(err)
	}

	moved := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	if err := nl.NeighSet(&netlink.Neigh{LinkIndex: hop.Ifindex, IP: gateway.Addr().AsSlice(), State: unix.NUD_PERMANENT, HardwareAddr: moved}); err != nil {
		t.Fatal(err)
	}
	affected(t, "the gateway's MAC changed", ch, relay.Addr(), peer.Addr(), hop)
	if hop, err = r.Resolve(relay.Addr(), peer.Addr()); err != nil || hop.DstMAC != mac(moved) {
		t.Fatalf("got %+v, %v, want the new MAC", hop, err)
	}

	host := &netlink.Route{LinkIndex: hop.Ifindex, Gw: client.Addr().AsSlice(), Dst: &net.IPNet{IP: peer.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}}
	if err := nl.RouteAdd(host); err != nil {
		t.Fatal(err)
	}
	affected(t, "a narrower route", ch, relay.Addr(), peer.Addr(), hop)
	if err := nl.RouteDel(host); err != nil {
		t.Fatal(err)
	}
	affected(t, "the narrower route went", ch, relay.Addr(), peer.Addr(), hop)

	eth0, err := nl.LinkByIndex(hop.Ifindex)
	if err != nil {
		t.Fatal(err)
	}
	if err := nl.LinkSetMTU(eth0, 1400); err != nil {
		t.Fatal(err)
	}
	affected(t, "the MTU changed", ch, relay.Addr(), peer.Addr(), hop)

	rule := netlink.NewRule()
	rule.Table, rule.Family, rule.Priority = 100, unix.AF_INET, 1
	if err := nl.RuleAdd(rule); err != nil {
		t.Fatal(err)
	}
	affected(t, "a rule", ch, relay.Addr(), peer.Addr(), hop)

	second := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 77, 0, 21).To4(), Mask: net.CIDRMask(24, 32)}}
	if err := nl.AddrAdd(eth0, second); err != nil {
		t.Fatal(err)
	}
	affected(t, "an address", ch, netip.MustParseAddr("10.77.0.21"), peer.Addr(), hop)
}

func TestUnrelatedChangesConcernNoFlow(t *testing.T) {
	addr, prefix := netip.MustParseAddr, netip.MustParsePrefix
	local, remote := addr("10.0.0.1"), addr("192.0.2.9")
	hop := nexthop.NextHop{Ifindex: 3, Neighbour: addr("10.0.0.254")}
	for _, tc := range []struct {
		name   string
		change nexthop.Change
		hop    nexthop.NextHop
		want   bool
	}{
		{"its link", nexthop.Change{Kind: nexthop.Link, Ifindex: 3}, hop, true},
		{"another link", nexthop.Change{Kind: nexthop.Link, Ifindex: 4}, hop, false},
		{"a link, with no way yet", nexthop.Change{Kind: nexthop.Link, Ifindex: 4}, nexthop.NextHop{}, true},
		{"its gateway", nexthop.Change{Kind: nexthop.Neighbour, Ifindex: 3, Prefix: prefix("10.0.0.254/32")}, hop, true},
		{"the same address elsewhere", nexthop.Change{Kind: nexthop.Neighbour, Ifindex: 4, Prefix: prefix("10.0.0.254/32")}, hop, false},
		{"another neighbour", nexthop.Change{Kind: nexthop.Neighbour, Ifindex: 3, Prefix: prefix("10.0.0.253/32")}, hop, false},
		{"default route", nexthop.Change{Kind: nexthop.Route, Prefix: prefix("0.0.0.0/0")}, hop, true},
		{"IPv6 default route", nexthop.Change{Kind: nexthop.Route, Prefix: prefix("::/0")}, hop, false},
		{"covering route", nexthop.Change{Kind: nexthop.Route, Prefix: prefix("192.0.2.0/24")}, hop, true},
		{"another route", nexthop.Change{Kind: nexthop.Route, Prefix: prefix("192.0.3.0/24")}, hop, false},
		{"its source", nexthop.Change{Kind: nexthop.Address, Ifindex: 3, Prefix: prefix("10.0.0.1/32")}, hop, true},
		{"its destination, now ours", nexthop.Change{Kind: nexthop.Address, Ifindex: 4, Prefix: prefix("192.0.2.9/32")}, hop, true},
		{"another address", nexthop.Change{Kind: nexthop.Address, Ifindex: 3, Prefix: prefix("10.0.0.2/32")}, hop, false},
		{"policy", nexthop.Change{Kind: nexthop.Policy}, hop, true},
	} {
		b := nexthop.Batch{Changes: []nexthop.Change{tc.change}}
		if got := b.Affects(local, remote, tc.hop); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.name, got, tc.want)
		}
		mapped := func(a netip.Addr) netip.Addr { return netip.AddrFrom16(a.As16()) }
		if got := b.Affects(mapped(local), mapped(remote), tc.hop); got != tc.want {
			t.Errorf("%s, 4-in-6: %t, want %t", tc.name, got, tc.want)
		}
	}
	if !(nexthop.Batch{Resync: true}).Affects(local, remote, hop) {
		t.Error("a resync concerns every flow")
	}
}

func TestChangesEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	batches, err := nexthop.Changes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	end := deadline(t)
	for batches != nil {
		select {
		case _, ok := <-batches:
			if !ok {
				batches = nil
			}
		case <-end.Done():
			t.Fatal("the channel stayed open")
		}
	}
}

func TestChangesWhileNobodyReadsAreTold(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	relay := b.Host("relay")
	var batches <-chan nexthop.Batch
	if err := relay.Do(func() (err error) { batches, err = nexthop.Changes(t.Context()); return err }); err != nil {
		t.Fatal(err)
	}
	for range 3 { // merged into few
		resolve(t, relay, b.Host("peer").Addr(), b.Host("client").Addr())
	}
	select {
	case b, ok := <-batches:
		if !ok || !b.Resync && len(b.Changes) == 0 {
			t.Fatalf("an empty batch (open: %t)", ok)
		}
	case <-deadline(t).Done():
		t.Fatal("no change was told")
	}
}

// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/relay/datapath"
	"plumbline/relay/probe"
	"plumbline/relay/turn"
)

// TestWithTheCore joins the sans-IO core and the data path, and lets the probe
// judge them: over both families, and behind a 1:1 NAT, where each end's peer is
// a public address that no interface here has.
func TestWithTheCore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, listen, public string
	}{
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "127.0.0.1"},
		{"1:1 NAT", "127.0.0.1:0", "203.0.113.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			listen := netip.MustParseAddrPort(c.listen)
			plane, deleted := start(t, listen, netip.MustParseAddr(c.public))
			const count = 25
			r, err := probe.Run(t.Context(), probe.Options{Server: plane.Local()[0].String(), User: "alice", Password: "right",
				IPv6: listen.Addr().Is6(), Count: count, Timeout: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Relayed[0].Addr().String(); got != c.public {
				t.Errorf("relayed at %s, want %s", got, c.public)
			}
			// The probe gives its allocations back, and their sums are those
			// of its datagrams: there and back, each through both allocations,
			// with some warm-ups.
			for range 2 {
				select {
				case e := <-deleted:
					if e.Reason != "refreshed_to_zero" || e.ToPeer.Userspace.Packets < count || e.ToClient.Userspace.Packets < count {
						t.Errorf("deleted: %+v, want at least %d packets each way", e, count)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("the probe's allocations were not deleted")
				}
			}
			if n := plane.Counters(); n.Reasons["channel"] < 4*count {
				t.Errorf("counters %+v, want at least %d by channel", n, 4*count)
			}
		})
	}
}

// start is a relay of core and data path alone.
func start(t *testing.T, listen netip.AddrPort, public netip.Addr) (*datapath.Datapath, <-chan logs.AllocationDeleted) {
	t.Helper()
	type message struct {
		from    turn.FiveTuple
		bytes   []byte
		release func()
	}
	queue := make(chan message, 256)
	plane, err := datapath.New(datapath.Options{
		Listen: []netip.AddrPort{listen},
		Control: func(from turn.FiveTuple, b []byte, release func()) bool {
			select {
			case queue <- message{from, b, release}:
				return true
			default:
				return false
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	core := turn.New(turn.Config{
		Realm: "example.org", Users: map[string]string{"alice": "right"},
		RelayIPv4: netip.MustParseAddr("127.0.0.1"), PublicIPv4: public, LowestPort: 20000, HighestPort: 29999,
	}, [32]byte([]byte(t.Name() + "................................")[:32]))
	deleted := make(chan logs.AllocationDeleted, 16)
	var execute func([]turn.Effect)
	execute = func(effects []turn.Effect) {
		for _, e := range effects {
			switch e := e.(type) {
			case turn.Send:
				if err := plane.Send(e.To, e.Payload); err != nil {
					t.Error(err)
				}
			case turn.Bind:
				execute(core.Bound(time.Now(), e.Relayed, plane.Bind(e.Relayed)))
			case turn.Release:
				plane.Release(e.Relayed)
			case turn.Publish:
				plane.Publish(e.View)
			case turn.Withdraw:
				e.Event.ToPeer.Userspace, e.Event.ToClient.Userspace = plane.Withdraw(e.ID)
				deleted <- e.Event
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case m := <-queue:
				execute(core.Handle(time.Now(), m.from, m.bytes))
				m.release()
			case <-ctx.Done():
				return
			}
		}
	}()
	served := make(chan error, 1)
	go func() { served <- plane.Serve(context.Background()) }()
	t.Cleanup(func() { // the core first: it may be about to answer
		cancel()
		<-ended
		_ = plane.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return plane, deleted
}

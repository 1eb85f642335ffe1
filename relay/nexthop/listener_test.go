// SPDX-License-Identifier: Apache-2.0

package nexthop

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"plumbline/relay/testbed"
)

// TestLostNotificationsEndInAResync overruns a small receive buffer before the
// reading begins. All that is left in it may be old; what matters is that a
// resync comes, and comes after the kernel has begun to report again.
func TestLostNotificationsEndInAResync(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	relay := b.Host("relay")
	var l *listener
	if err := relay.Do(func() (err error) { l, err = listen(1); return err }); err != nil { // the kernel's minimum
		t.Fatal(err)
	}
	set := func(n int) {
		t.Helper()
		err := relay.Netlink().NeighSet(&netlink.Neigh{
			LinkIndex: relay.Interfaces[0].Index, IP: net.IPv4(10, 77, 0, byte(n)).To4(),
			State: unix.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(n)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := 100; n < 200; n++ {
		set(n)
	}
	// The first word must be the resync: told any earlier, the changes that are
	// discarded while the queue is still full would never be looked for.
	first, err := l.next()
	if err != nil || !first.Resync {
		t.Fatalf("first batch %+v, %v, want a resync", first, err)
	}
	set(201)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out := make(chan Batch)
	go l.run(ctx, out)
	want := netip.MustParsePrefix("10.77.0.201/32")
	for b := range out {
		if b.Resync {
			t.Fatal("a second resync, although nothing was lost again")
		}
		for _, c := range b.Changes {
			if c.Kind == Neighbour && c.Prefix == want {
				return
			}
		}
	}
	t.Fatal("nothing was reported after the resync")
}

func TestPendingMergesAndGivesUpInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pending
		want := map[Change]bool{}
		resync := false
		for range rapid.IntRange(0, 40).Draw(t, "batches") {
			var b Batch
			b.Resync = rapid.IntRange(0, 60).Draw(t, "resync") == 0
			for range rapid.IntRange(0, 80).Draw(t, "changes") {
				c := Change{Kind: Link, Ifindex: rapid.IntRange(0, 2*maxPending).Draw(t, "ifindex")}
				b.Changes = append(b.Changes, c)
				want[c] = true
			}
			resync = resync || b.Resync
			p.add(b)
		}
		got := p.take()
		if !p.empty() {
			t.Fatal("not empty after take")
		}
		if got.Resync != (resync || len(want) > maxPending) {
			t.Fatalf("resync %t with %d different changes, asked for: %t", got.Resync, len(want), resync)
		}
		if got.Resync {
			return // covers all
		}
		if len(got.Changes) != len(want) {
			t.Fatalf("%d changes, want %d", len(got.Changes), len(want))
		}
		for _, c := range got.Changes {
			if !want[c] {
				t.Fatalf("%+v was never added", c)
			}
		}
	})
}

// TestParseSurvivesAnything: what can't be read must be a resync, never a panic
// and never silence.
func TestParseSurvivesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "body")
		kind := rapid.SampledFrom([]uint16{
			unix.RTM_NEWLINK, unix.RTM_DELADDR, unix.RTM_NEWROUTE, unix.RTM_NEWNEIGH, unix.RTM_NEWRULE, unix.RTM_NEWTFILTER,
		}).Draw(t, "type")
		msg := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
		binary.NativeEndian.PutUint32(msg, uint32(unix.SizeofNlMsghdr+len(body)))
		binary.NativeEndian.PutUint16(msg[4:], kind)
		parse(append(msg, body...))
	})
	for name, datagram := range map[string][]byte{
		"a cut header":  {1, 2, 3},
		"a long length": {0xff, 0, 0, 0, unix.RTM_NEWLINK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"a short body":  {20, 0, 0, 0, unix.RTM_NEWNEIGH, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0},
	} {
		if b := parse(datagram); !b.Resync {
			t.Errorf("%s gives %+v, want a resync", name, b)
		}
	}
}

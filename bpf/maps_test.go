// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"plumbline/bpf"
)

func keyNumber(n int) bpf.RouteKey {
	return bpf.RouteKey{
		Remote:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1000),
		Local:   listen,
		Channel: channel,
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The default config, byte for byte, also when it is written twice: an array
// map that nobody wrote reads as zeros.
func TestConfigIsWritten(t *testing.T) {
	maps := load(t, 4).Maps()
	slot, err := maps.ReadSlot(0)
	check(t, err)
	if slot != (bpf.Slot{}) {
		t.Fatalf("a new map holds %x", slot)
	}
	want := goodConfig().Encode()
	for range 2 {
		check(t, maps.WriteSlot(0, want))
		got, err := maps.ReadSlot(0)
		check(t, err)
		if got != want {
			t.Fatalf("the kernel holds %x, want %x", got, want)
		}
	}
	active := bpf.Active{Slot: 1, LeaseUntil: 0x0102030405060708}
	check(t, maps.WriteActive(active))
	got, err := maps.ReadActive()
	check(t, err)
	if got != active {
		t.Fatalf("the kernel holds %+v, want %+v", got, active)
	}
	if err := maps.WriteSlot(bpf.Slots, want); err == nil {
		t.Error("slot 2 was written")
	}
	if _, err := maps.ReadSlot(bpf.Slots); err == nil {
		t.Error("slot 2 was read")
	}
}

func TestRoutesFull(t *testing.T) {
	const room = 16
	maps := load(t, room).Maps()
	// A hash without preallocation counts per CPU and may take some more.
	var err error
	n := 0
	for ; n < 100*room && err == nil; n++ {
		err = maps.PutRoute(keyNumber(n), uint32(n))
	}
	if !errors.Is(err, bpf.ErrFull) {
		t.Fatalf("%d routes in a map for %d: %v", n, room, err)
	}
	t.Logf("%v", err)
	// What is there can still be pointed elsewhere, and room made.
	check(t, maps.PutRoute(keyNumber(0), 7))
	number, found, err := maps.LookupRoute(keyNumber(0))
	check(t, err)
	if !found || number != 7 {
		t.Fatalf("route 0 is %d, found %t", number, found)
	}
	for i := range n {
		check(t, maps.DeleteRoute(keyNumber(i)))
	}
	check(t, maps.PutRoute(keyNumber(n), 1))
	if _, found, err := maps.LookupRoute(keyNumber(0)); err != nil || found {
		t.Fatalf("a deleted route is found: %t, %v", found, err)
	}
}

// A dump holds each route that stays, once, while others come and go.
func TestRoutesDumpUnderChange(t *testing.T) {
	const stay, churn = 3000, 3000
	maps := load(t, 8192).Maps()
	for n := range stay {
		check(t, maps.PutRoute(keyNumber(n), uint32(n)))
	}
	stop := make(chan struct{})
	var churning sync.WaitGroup
	churning.Go(func() {
		for n := 0; ; n = (n + 1) % churn {
			select {
			case <-stop:
				return
			default:
			}
			if err := maps.PutRoute(keyNumber(stay+n), uint32(stay+n)); err != nil {
				t.Error(err)
				return
			}
			if err := maps.DeleteRoute(keyNumber(stay + (n+churn/2)%churn)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 30 {
		routes, err := maps.Routes()
		check(t, err)
		seen := make(map[bpf.RouteKey]bool)
		for _, r := range routes {
			if seen[r.Key] {
				t.Fatalf("%s came twice", r.Key)
			}
			seen[r.Key] = true
			if want := keyNumber(int(r.Number)); r.Key != want {
				t.Fatalf("route %d is %s, want %s", r.Number, r.Key, want)
			}
		}
		for n := range stay {
			if !seen[keyNumber(n)] {
				t.Fatalf("%s was not in the dump of %d", keyNumber(n), len(routes))
			}
		}
	}
	close(stop)
	churning.Wait()
}

func TestRoutesOfAnotherHand(t *testing.T) {
	maps := load(t, 4).Maps()
	odd := keyNumber(1)
	odd.Reserved = 0x0102
	check(t, maps.PutRoute(odd, 1))
	routes, err := maps.Routes()
	check(t, err)
	if len(routes) != 1 || routes[0].Key != odd {
		t.Fatalf("the dump has %+v", routes)
	}
	check(t, maps.DeleteRoute(routes[0].Key))
	if routes, err = maps.Routes(); err != nil || len(routes) != 0 {
		t.Fatalf("still there: %v, %v", routes, err)
	}
}

func TestFlows(t *testing.T) {
	maps := load(t, 4).Maps()
	want := scene().Flows[flowToClient]
	for number := range uint32(4) {
		check(t, maps.PutFlow(number, want))
		check(t, maps.SetExpiry(number, 0x0102030405060700+uint64(number)))
	}
	for number := range uint32(4) {
		want.ExpiryNS = 0x0102030405060700 + uint64(number)
		got, err := maps.ReadFlow(number)
		check(t, err)
		if got != want {
			t.Fatalf("flow %d is %+v, want %+v", number, got, want)
		}
	}
	for what, err := range map[string]error{
		"put": maps.PutFlow(4, want), "expiry": maps.SetExpiry(4, 1),
		"read":    func() error { _, err := maps.ReadFlow(4); return err }(),
		"traffic": func() error { _, _, err := maps.FlowTraffic(4); return err }(),
	} {
		if err == nil {
			t.Errorf("%s of a number beyond the map went through", what)
		}
	}
}

// The generation that decided, per slot: seen at once, and counted from 1 again
// when the slot gets another.
func TestObserved(t *testing.T) {
	p := newPair(t, 4)
	sum := func(slot uint32) (generation uint32, packets uint64) {
		seen, err := p.maps.Observed(slot)
		check(t, err)
		for _, o := range seen {
			packets += o.Packets
			generation = max(generation, o.Generation)
		}
		return generation, packets
	}
	m := scene()
	p.set(t, m)
	for range 3 {
		relay(t, p, fromPeer(data)) // two frames each
	}
	if g, n := sum(0); g != 7 || n < 1 || n > 6 {
		t.Fatalf("slot 0 saw generation %d, %d packets; want 7 and up to 6", g, n)
	}
	c := goodConfig()
	c.Generation, c.Enabled = 8, false // deciding to pass is deciding
	m.Slots[1], m.Active.Slot = c.Encode(), 1
	p.set(t, m)
	if _, err := p.run(fromPeer(data), nil); err != nil {
		t.Fatal(err)
	}
	if g, n := sum(1); g != 8 || n != 1 {
		t.Fatalf("slot 1 saw generation %d, %d packets; want 8 and 1", g, n)
	}
	c.Generation = 9
	m.Slots[1] = c.Encode()
	p.set(t, m)
	if _, err := p.run(fromPeer(data), nil); err != nil {
		t.Fatal(err)
	}
	seen, err := p.maps.Observed(1)
	check(t, err)
	found := false
	for _, o := range seen {
		found = found || o.Generation == 9 && o.Packets == 1
	}
	if !found {
		t.Fatalf("slot 1 saw %+v, want generation 9 with 1 packet", seen)
	}
}

func TestGracePeriod(t *testing.T) {
	if err := bpf.GracePeriod(); err != nil {
		cannot(t, "membarrier(MEMBARRIER_CMD_GLOBAL)", err)
	}
	before := bpf.MonotonicNS()
	check(t, bpf.GracePeriod())
	t.Logf("a grace period took %d µs", (bpf.MonotonicNS()-before)/1000)
}

// The self-test leaves no trace in the router's own maps.
func TestSelfTest(t *testing.T) {
	router := load(t, 4)
	check(t, router.SelfTest())
	counters, err := router.Maps().Counters()
	check(t, err)
	if counters != (bpf.Counters{}) {
		t.Errorf("counters say %s", outcomeOf(counters))
	}
	for slot := range uint32(bpf.Slots) {
		if got, err := router.Maps().ReadSlot(slot); err != nil || got != (bpf.Slot{}) {
			t.Errorf("slot %d holds %x, %v", slot, got, err)
		}
	}
}

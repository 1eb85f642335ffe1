// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"
	"strings"
	"testing"

	"plumbline/logs"
	"plumbline/relay/turn"
)

// A slot has room for eight listen ports. A ninth would be left out of what is
// written and of what it is compared with: "verified" would be true of a config
// that the kernel does not hold.
func TestWhatTheSlotCannotHoldIsRefused(t *testing.T) {
	b := newBench(t).applied(1)
	cfg := routerConfig(2)
	cfg.ListenPorts = []uint16{1, 2, 3, 4, 5, 6, 7, 8, 9}
	if err := b.Apply(cfg, "digest"); err == nil || !strings.Contains(err.Error(), "9 listen ports") {
		t.Fatalf("applied nine listen ports: %v", err)
	}
	if e := event[logs.ConfigRolledBack](b); e.Step != "validate" || e.KeptGeneration != 1 {
		t.Fatalf("config.rolled_back %+v", e)
	}
	if now, _, _ := b.Intended(); now.Generation != 1 || !b.CheckConfig("periodic") {
		t.Fatalf("generation %d is intended after a refusal", now.Generation)
	}
}

// The effect of drift is counted between two lines of counters, also while it
// resists repair.
func TestCountersStandAroundDriftThatResists(t *testing.T) {
	b := newBench(t).applied(1)
	b.kernel.slots[b.kernel.active.Slot] = [40]byte{}
	b.kernel.fail["WriteSlot"] = errInjected
	if b.CheckConfig("periodic") {
		t.Fatal("a blank slot is taken for right")
	}
	if e := event[logs.ConfigRepaired](b); e.Verified {
		t.Fatal("a repair that failed is called verified")
	}
	b.expect("datapath.counters", "config.drifted", "config.repaired", "datapath.counters", "diagnostic")
}

// A checkpoint's line is exact at its place: while it is written, no route may
// come or go, or the log would replay to one that the relay does not hold.
func TestRoutesStandStillWhileTheyAreShown(t *testing.T) {
	b := newBench(t).applied(1)
	b.Publish(b.view())
	b.events = nil
	begun, done := make(chan struct{}), make(chan struct{})
	b.Installed("a-1", func(routes []logs.Route) {
		go func() { close(begun); b.Withdraw("a-1", "expired"); close(done) }()
		<-begun
		if b.mu.TryLock() {
			b.mu.Unlock()
			t.Error("routes can change while they are shown")
		}
		b.Log(logs.CheckpointAllocation{Allocation: "a-1", Routes: routes})
	})
	<-done
	b.expect("checkpoint.allocation", "route.removed")
}

// Without a grace period no number may be used again, but what its flow has
// relayed is counted all the same.
func TestCountsSurviveWithoutAGracePeriod(t *testing.T) {
	b := newBench(t).applied(1)
	b.Publish(b.view())
	b.kernel.carry(t, toPeerKey, 7)
	b.Withdraw("a-1", "expired")
	b.opt.Grace = func() error { return errInjected }
	if err := b.Reap(); err == nil {
		t.Fatal("a grace period that failed is not told")
	}
	var packets uint64
	add := func(c FlowCount) { packets += c.Traffic.Packets }
	for range 2 {
		if err := b.Collect(false, add); err != nil || packets != 7 {
			t.Fatalf("%d packets were collected, want 7: %v", packets, err)
		}
	}
	if n, _ := b.numbers.take(); n != 3 {
		t.Errorf("flow number %d is used again without a grace period", n)
	}
	b.opt.Grace = func() error { return nil }
	if err := b.Reap(); err != nil {
		t.Fatal(err)
	}
	if err := b.Collect(true, add); err != nil || packets != 7 {
		t.Fatalf("%d packets were collected in all, want 7: %v", packets, err)
	}
}

// Somebody empties the map: every route comes back, with counters once around
// all of it.
func TestEmptiedMapIsRepairedBetweenTwoCounts(t *testing.T) {
	b := newBench(t).applied(1)
	const channels = 50
	v := b.view()
	for n := range uint16(channels) {
		peer := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.9"), 9000+n)
		v.Channels = append(v.Channels, turn.ChannelView{Number: 0x4001 + n, Peer: peer, Expires: v.Expires})
	}
	v.Channels = v.Channels[1:] // that of view has the first peer too
	b.Publish(v)
	b.events = nil
	clear(b.kernel.routes)
	if err := b.CheckRoutes(); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, name := range b.names() {
		counts[name]++
	}
	if len(b.kernel.routes) != 2*channels || counts["route.repaired"] != 2*channels || counts["datapath.counters"] != 2 {
		t.Fatalf("%d routes are back, events %v", len(b.kernel.routes), counts)
	}
}

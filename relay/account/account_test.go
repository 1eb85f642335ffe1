// SPDX-License-Identifier: Apache-2.0

package account

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"plumbline/logs"
	"plumbline/relay/datapath"
	"plumbline/relay/reconcile"
)

var (
	client = logs.Addr{AddrPort: netip.MustParseAddrPort("192.0.2.4:40112")}
	peer   = logs.Addr{AddrPort: netip.MustParseAddrPort("192.0.2.9:9000")}
)

// fakeKernel counts as the router and the reconciler would.
type fakeKernel struct {
	live, ended []reconcile.FlowCount
	outcomes    map[Outcome]uint64 // keys without Packets
	relayed     uint64
	err         error
}

func (k *fakeKernel) Reap() error { return k.err }
func (k *fakeKernel) Collect(onlyEnded bool, visit func(reconcile.FlowCount)) error {
	for _, c := range k.ended {
		visit(c)
	}
	k.ended = nil
	if !onlyEnded {
		for _, c := range k.live {
			visit(c)
		}
		k.live = nil
	}
	return k.err
}
func (k *fakeKernel) Counts() (KernelCounts, error) {
	c := KernelCounts{Received: k.relayed}
	for o, n := range k.outcomes {
		o.Packets = n
		c.Outcomes = append(c.Outcomes, o)
		c.Received += n
	}
	c.Outcomes = append(c.Outcomes, Outcome{Verdict: "relay", Direction: reconcile.ToPeer, Reason: "channel4>udp4", Packets: k.relayed})
	return c, k.err
}

// relay lets the router relay packets of a flow.
func (k *fakeKernel) relay(allocation string, packets uint64) {
	k.relayed += packets
	k.live = append(k.live, reconcile.FlowCount{
		Allocation: allocation, Client: client, Channel: 0x4000, Peer: peer, Direction: reconcile.ToPeer,
		Traffic: logs.Traffic{Packets: packets, Bytes: packets * 100},
	})
}

// pass lets it pass packets up.
func (k *fakeKernel) pass(reason string, packets uint64) {
	k.outcomes[Outcome{Verdict: "pass", Direction: "none", Reason: reason}] += packets
}

type fakeUserspace struct {
	flows map[string]*datapath.FlowStat
	sums  logs.UserspaceCounters
}

func (u *fakeUserspace) Flows(visit func(datapath.FlowStat)) {
	for id, f := range u.flows {
		visit(*f)
		if f.Ended {
			delete(u.flows, id)
		}
	}
}
func (u *fakeUserspace) Counters() logs.UserspaceCounters { return u.sums }

func (u *fakeUserspace) relay(allocation string, packets uint64) {
	f := u.flows[allocation]
	if f == nil {
		f = &datapath.FlowStat{Allocation: allocation, Client: client.AddrPort, Channel: 0x4000, Peer: peer.AddrPort,
			Direction: datapath.ToPeer, Verdict: datapath.Relay, Reason: "channel"}
		u.flows[allocation] = f
	}
	f.Packets += packets
	f.Bytes += packets * 100
	u.sums.Received += packets
	u.sums.Relayed += packets
}

type bench struct {
	*Account
	kernel    *fakeKernel
	userspace *fakeUserspace
	now       time.Time
	events    []logs.Event
}

func (b *bench) Log(e logs.Event) { b.events = append(b.events, e) }

func newBench() *bench {
	b := &bench{
		kernel: &fakeKernel{outcomes: map[Outcome]uint64{}}, userspace: &fakeUserspace{flows: map[string]*datapath.FlowStat{}},
		now: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC),
	}
	b.Account = New(Options{Sink: b, Userspace: b.userspace, Interval: 10 * time.Second, Now: func() time.Time { return b.now }})
	b.Attach(b.kernel)
	b.Reconfigure(1, 10*time.Second)
	return b
}

// cycle moves the clock and looks.
func (b *bench) cycle(t interface{ Fatal(...any) }, step time.Duration) []logs.RouteDecision {
	b.now = b.now.Add(step)
	b.events = nil
	if err := b.Cycle(true, false); err != nil {
		t.Fatal(err)
	}
	return b.decisions()
}

func (b *bench) decisions() (all []logs.RouteDecision) {
	for _, e := range b.events {
		if d, ok := e.(logs.RouteDecision); ok {
			all = append(all, d)
		}
	}
	return all
}

func TestFirstThenSummary(t *testing.T) {
	b := newBench()
	b.kernel.relay("a-1", 3)
	got := b.cycle(t, time.Second)
	if len(got) != 1 || got[0].Change != "first" || got[0].Packets != 3 || got[0].Bytes != 300 || got[0].Datapath != "kernel" ||
		got[0].Reason != "channel4>udp4" || got[0].Client != client || got[0].Generation != 1 {
		t.Fatalf("first decision %+v", got)
	}
	b.kernel.relay("a-1", 4)
	if got := b.cycle(t, time.Second); len(got) != 0 {
		t.Fatalf("a decision between summaries: %+v", got)
	}
	b.kernel.relay("a-1", 5)
	got = b.cycle(t, 9*time.Second)
	if len(got) != 1 || got[0].Change != "summary" || got[0].Packets != 9 || got[0].WindowMS != 10_000 {
		t.Fatalf("summary %+v, want 9 packets in 10 s", got)
	}
	if got := b.cycle(t, 20*time.Second); len(got) != 0 {
		t.Fatalf("an idle flow is logged: %+v", got)
	}
}

func TestChangeOfDatapathAndGeneration(t *testing.T) {
	b := newBench()
	b.kernel.relay("a-1", 1)
	b.cycle(t, time.Second)
	b.userspace.relay("a-1", 2)
	got := b.cycle(t, time.Second)
	if len(got) != 1 || got[0].Change != "changed" || got[0].Datapath != "userspace" || got[0].Packets != 2 {
		t.Fatalf("change of datapath %+v", got)
	}
	b.Reconfigure(2, 10*time.Second)
	b.userspace.relay("a-1", 1)
	got = b.cycle(t, time.Second)
	if len(got) != 1 || got[0].Change != "changed" || got[0].Generation != 2 {
		t.Fatalf("change of generation %+v", got)
	}
}

// A flow that flaps between the datapaths is bounded to a line a second, and
// what it carried in between is not lost.
func TestFlappingIsBounded(t *testing.T) {
	b := newBench()
	var lines int
	var packets uint64
	count := func(got []logs.RouteDecision) {
		for _, d := range got {
			lines++
			packets += d.Packets
		}
	}
	for range 40 {
		b.kernel.relay("a-1", 1)
		count(b.cycle(t, 50*time.Millisecond))
		b.userspace.relay("a-1", 1)
		count(b.cycle(t, 50*time.Millisecond))
	}
	b.events = nil
	b.Final()
	count(b.decisions())
	if lines > 8 || packets != 80 {
		t.Fatalf("%d lines for 4 s of flapping, %d of 80 packets in them", lines, packets)
	}
}

func TestPassesAreOneLineAReason(t *testing.T) {
	b := newBench()
	b.kernel.pass("no_route", 5)
	b.kernel.pass("not_ipv4", 2)
	b.Example("no_route", "192.0.2.9:9000 → 198.51.100.1:50000, 100 bytes")
	got := b.cycle(t, time.Second)
	if len(got) != 2 {
		t.Fatalf("%d lines, want one for each reason: %+v", len(got), got)
	}
	for _, d := range got {
		if d.Allocation != nil || d.Client.IsValid() || d.Peer.IsValid() || d.Verdict != "pass" {
			t.Errorf("a pass that somebody owns: %+v", d)
		}
		if examples := len(d.Examples); (d.Reason == "no_route") != (examples == 1) {
			t.Errorf("%s with %d examples", d.Reason, examples)
		}
	}
	b.kernel.pass("no_route", 1)
	if got := b.cycle(t, 10*time.Second); len(got) != 1 || got[0].Packets != 1 || got[0].Change != "summary" {
		t.Fatalf("second interval %+v", got)
	}
}

func TestDeletedCarriesTheWholeLife(t *testing.T) {
	b := newBench()
	b.kernel.relay("a-1", 3)
	b.userspace.relay("a-1", 2)
	b.cycle(t, time.Second)
	// The last packets are counted by the reaping, after the withdrawal.
	b.kernel.relayed += 4
	b.kernel.ended = append(b.kernel.ended, reconcile.FlowCount{Allocation: "a-1", Client: client, Channel: 0x4000, Peer: peer,
		Direction: reconcile.ToPeer, Traffic: logs.Traffic{Packets: 4, Bytes: 400}, Ended: true})
	b.userspace.flows["a-1"].Ended = true
	b.Withdraw(logs.AllocationDeleted{Allocation: "a-1", Reason: "expired"})
	b.events = nil
	if err := b.Cycle(false, false); err != nil {
		t.Fatal(err)
	}
	last := b.events[len(b.events)-1]
	d, ok := last.(logs.AllocationDeleted)
	if !ok || d.ToPeer.Kernel != (logs.Traffic{Packets: 7, Bytes: 700}) || d.ToPeer.Userspace != (logs.Traffic{Packets: 2, Bytes: 200}) {
		t.Fatalf("the last event is %+v, want allocation.deleted with 7 and 2 packets", last)
	}
	if got := b.decisions(); len(got) != 1 || got[0].Packets != 4 {
		t.Fatalf("decisions at the end %+v, want the last 4 packets", got)
	}
	if len(b.streams) != 0 || len(b.totals) != 0 || len(b.cumulative) != 0 {
		t.Fatalf("%d streams, %d totals, %d counters are kept of an ended allocation", len(b.streams), len(b.totals), len(b.cumulative))
	}
}

// Whatever happens in whatever order: at the end the sums of the decisions equal
// the counters, by datapath and verdict and by reason.
func TestSumsEqualCounters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBench()
		sums := map[string]uint64{}
		take := func() {
			for _, d := range b.decisions() {
				sums[d.Datapath+" "+d.Verdict+" "+d.Reason] += d.Packets
			}
		}
		ids := []string{"a-1", "a-2", "a-3"}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			id, n := rapid.SampledFrom(ids).Draw(t, "id"), rapid.Uint64Range(0, 50).Draw(t, "n")
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1:
				b.kernel.relay(id, n)
			case 2:
				b.userspace.relay(id, n)
			case 3:
				b.kernel.pass(rapid.SampledFrom([]string{"no_route", "not_ours"}).Draw(t, "reason"), n)
			case 4:
				b.events = nil
				b.Reconfigure(uint32(n)+1, 10*time.Second)
				take()
			case 5:
				if f := b.userspace.flows[id]; f != nil {
					f.Ended = true
				}
				b.kernel.ended, b.kernel.live = append(b.kernel.ended, b.kernel.live...), nil
				b.Withdraw(logs.AllocationDeleted{Allocation: id})
			}
			b.cycle(t, time.Duration(rapid.IntRange(0, 12000).Draw(t, "ms"))*time.Millisecond)
			take()
		}
		b.events = nil
		b.Final()
		take()
		final, ok := b.events[len(b.events)-1].(logs.DatapathCounters)
		if !ok || !final.Final {
			t.Fatalf("the last event is %+v", b.events[len(b.events)-1])
		}
		if got := sums["kernel relay channel4>udp4"]; got != final.Kernel.Relayed {
			t.Fatalf("decisions say %d relayed by the kernel, counters %d", got, final.Kernel.Relayed)
		}
		if got := sums["userspace relay channel"]; got != final.Userspace.Relayed {
			t.Fatalf("decisions say %d relayed in user space, counters %d", got, final.Userspace.Relayed)
		}
		for reason, n := range final.Kernel.Reasons {
			got := sums["kernel pass "+reason] + sums["kernel relay "+reason]
			if got != n {
				t.Fatalf("decisions say %d for %s, counters %d", got, reason, n)
			}
		}
		if k := final.Kernel; k.Received != k.Relayed+k.Passed+k.Dropped {
			t.Fatalf("received %d is not relayed %d + passed %d + dropped %d", k.Received, k.Relayed, k.Passed, k.Dropped)
		}
	})
}

// The reconciler writes counters while it holds its own lock, and a cycle asks
// the reconciler: the two must not wait for each other.
func TestCountersNeedNoLockOfACycle(t *testing.T) {
	b := newBench()
	b.mu.Lock()
	defer b.mu.Unlock()
	done := make(chan struct{})
	go func() { b.WriteCounters(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("WriteCounters waits for a cycle")
	}
}

func TestUnreadableKernelIsAnError(t *testing.T) {
	b := newBench()
	b.kernel.err = errors.New("injected")
	if err := b.Cycle(true, false); err == nil {
		t.Fatal("a cycle that could not read the kernel says nothing")
	}
	b.events = nil
	b.WriteCounters()
	if len(b.events) != 1 || b.events[0].Name() != "diagnostic" {
		t.Fatalf("counters that can't be read are written: %+v", b.events)
	}
}

func TestLinesComeInAStableOrder(t *testing.T) {
	var first []string
	for range 5 {
		b := newBench()
		for _, id := range []string{"a-3", "a-1", "a-2"} {
			b.kernel.relay(id, 1)
			b.userspace.relay(id, 1)
		}
		var order []string
		for _, d := range b.cycle(t, time.Second) {
			order = append(order, *d.Allocation+d.Datapath)
		}
		if first == nil {
			first = order
		} else if !slices.Equal(first, order) {
			t.Fatalf("order %v, then %v", first, order)
		}
	}
}

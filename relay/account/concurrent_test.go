// SPDX-License-Identifier: Apache-2.0

package account

import (
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/relay/reconcile"
)

// waiting is a kernel whose grace period lasts until it is told.
type waiting struct {
	*fakeKernel
	begun, end chan struct{}
}

func (w *waiting) Reap() error {
	close(w.begun)
	<-w.end
	return nil
}

// The core ends allocations, and the ring buffer's reader brings hints, while a
// cycle waits for a grace period: neither may wait with it.
func TestNobodyWaitsForACycle(t *testing.T) {
	b := newBench()
	w := &waiting{fakeKernel: b.kernel, begun: make(chan struct{}), end: make(chan struct{})}
	b.Attach(w)
	cycled := make(chan error, 1)
	go func() { cycled <- b.Cycle(true, false) }()
	<-w.begun
	done := make(chan struct{})
	go func() {
		b.Withdraw(logs.AllocationDeleted{Allocation: "a-1"})
		b.Hint()
		b.Example("no_route", "a packet")
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("the core waits for a grace period")
	}
	close(w.end)
	if err := <-cycled; err != nil {
		t.Fatal(err)
	}
}

// What the router relayed by a route that somebody else wrote has no owner, but
// it has a line, so that the sums still equal the counters.
func TestRelayedWithoutAnOwnerIsNamed(t *testing.T) {
	b := newBench()
	b.kernel.relay("a-1", 3)
	b.kernel.relayed += 5
	b.cycle(t, time.Second)
	b.events = nil
	b.Final()
	got := b.decisions()
	if len(got) != 1 || got[0].Allocation != nil || got[0].Verdict != "relay" || got[0].Packets != 5 || got[0].Direction != reconcile.ToPeer {
		t.Fatalf("decisions %+v, want one line without an owner", got)
	}
	said := 0
	for _, e := range b.events {
		if d, ok := e.(logs.Diagnostic); ok && d.Level == logs.Warn {
			said++
		}
	}
	if said != 1 {
		t.Errorf("%d warnings, want one", said)
	}
}

// Packets are logged under the generation that decided them, not under the one
// that came before their line did.
func TestGenerationOfDecisionsBeforeAReload(t *testing.T) {
	b := newBench()
	b.kernel.relay("a-1", 1)
	b.cycle(t, time.Second)
	b.kernel.relay("a-1", 40)
	b.cycle(t, time.Second)
	b.Reconfigure(2, 10*time.Second)
	if got := b.decisions(); len(got) != 1 || got[0].Packets != 40 || got[0].Generation != 1 || got[0].Change != "summary" {
		t.Fatalf("before the reload %+v, want 40 packets under generation 1", got)
	}
	b.kernel.relay("a-1", 2)
	if got := b.cycle(t, time.Second); len(got) != 1 || got[0].Packets != 2 || got[0].Generation != 2 || got[0].Change != "changed" {
		t.Fatalf("after the reload %+v, want 2 packets under generation 2", got)
	}
}

// A kernel path that could not be had is forgotten; the next one's counters
// begin at zero, and nothing is subtracted from them.
func TestAnotherKernelPathBeginsAtZero(t *testing.T) {
	b := newBench()
	b.kernel.pass("no_route", 9)
	b.cycle(t, time.Second)
	b.Attach(nil)
	b.kernel = &fakeKernel{outcomes: map[Outcome]uint64{}}
	b.Attach(b.kernel)
	b.kernel.pass("no_route", 2)
	if got := b.cycle(t, 10*time.Second); len(got) != 1 || got[0].Packets != 2 {
		t.Fatalf("decisions %+v, want 2 packets", got)
	}
}

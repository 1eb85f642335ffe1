// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"plumbline/bpf"
)

func drain(t *testing.T, d *bpf.Decisions) []bpf.Decision {
	t.Helper()
	var all []bpf.Decision
	for {
		d.SetDeadline(time.Now().Add(-time.Second))
		one, err := d.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		check(t, err)
		all = append(all, one)
	}
}

func decisions(t *testing.T, p *pair) *bpf.Decisions {
	t.Helper()
	d, err := p.maps.Decisions()
	check(t, err)
	t.Cleanup(func() { check(t, d.Close()) })
	return d
}

// One event for a flow's first packet, again under a new generation, and again
// when its number has another user.
func TestDecisionOfFirstPacket(t *testing.T) {
	p := newPair(t, 4)
	d := decisions(t, p)
	m := scene()
	p.set(t, m)
	expect := func(what string, generation uint32) {
		t.Helper()
		relay(t, p, fromPeer(data))
		got := drain(t, d)
		if generation == 0 {
			if len(got) != 0 {
				t.Fatalf("%s: %+v", what, got)
			}
			return
		}
		if len(got) != 1 {
			t.Fatalf("%s: %d events, want 1: %+v", what, len(got), got)
		}
		want := bpf.Decision{
			TimeNS: got[0].TimeNS, Outcome: bpf.Outcome{Verdict: bpf.RelayTX, Direction: bpf.ToClient, Reason: "routed"},
			Generation: generation, Flow: flowToClient, CPU: got[0].CPU, Ifindex: 1,
			Length: uint32(len(fromPeer(data)) + 4), Key: bpf.RouteKey{Remote: peer, Local: relayed},
		}
		if got[0] != want {
			t.Fatalf("%s:\n%+v, want\n%+v", what, got[0], want)
		}
		if age := time.Duration(bpf.MonotonicNS() - got[0].TimeNS); age < 0 || age > time.Minute {
			t.Fatalf("%s: decided %s ago", what, age)
		}
	}
	expect("first", 7)
	expect("second", 0)
	c := goodConfig()
	c.Generation = 8
	m.Slots[0] = c.Encode()
	check(t, p.maps.WriteSlot(0, m.Slots[0]))
	p.model = m
	expect("new generation", 8)
	expect("new generation, second", 0)
	check(t, p.maps.SetExpiry(flowToClient, never-1))
	expect("renewed", 0)
	check(t, p.maps.PutFlow(flowToClient, m.Flows[flowToClient]))
	expect("another flow", 8)
}

// Passes and drops are sampled: the first few, then one in many.
func TestDecisionSamples(t *testing.T) {
	p := newPair(t, 4)
	d := decisions(t, p)
	m := scene()
	m.Routes = nil
	p.set(t, m)
	frame := fromClient(data)
	const runs = 2*bpf.SampleEvery + 5
	before, err := p.maps.Counters()
	check(t, err)
	// In one call, and so on one CPU as far as the kernel has its way.
	if _, _, err := p.router.Run(frame, runs, nil); err != nil {
		t.Fatal(err)
	}
	got := drain(t, d)
	after, err := p.maps.Counters()
	check(t, err)
	none := bpf.Outcome{Verdict: bpf.Pass, Direction: bpf.ToPeer, Reason: "no_route"}
	if n := after.Sub(before).Of(none); n < runs {
		t.Fatalf("%d of %d counted", n, runs)
	}
	if least, most := bpf.SampleFirst+1, 4*bpf.SampleFirst+4; len(got) < least || len(got) > most {
		t.Fatalf("%d events of %d, want %d to %d", len(got), runs, least, most)
	}
	for _, e := range got {
		if e.Outcome != none || e.Flow != bpf.NoFlow || e.Generation != 7 || e.Length != uint32(len(frame)) ||
			e.Key != (bpf.RouteKey{Remote: client, Local: listen, Channel: channel}) {
			t.Fatalf("event %+v", e)
		}
	}
}

// With nobody reading, the ring fills up; counters go on, and count what was
// lost: events sent are events read and events lost.
func TestDecisionsLost(t *testing.T) {
	p := newPair(t, 4)
	m := scene()
	p.set(t, m)
	const flood = 20000
	frame := fromPeer(data)
	before, err := p.maps.Counters()
	check(t, err)
	for i := range flood { // every packet is the first of a new flow
		if i%2 == 0 {
			check(t, p.maps.PutFlow(flowToClient, m.Flows[flowToClient]))
		}
		if _, _, err := p.router.Run(frame, 1, nil); err != nil {
			t.Fatal(err)
		}
	}
	after, err := p.maps.Counters()
	check(t, err)
	since := after.Sub(before)
	got := uint64(len(drain(t, decisions(t, p))))
	if since.Received != flood || since.Relayed() != flood {
		t.Fatalf("counted %s", outcomeOf(since))
	}
	if since.DecisionsLost == 0 || got+since.DecisionsLost != flood/2 {
		t.Fatalf("%d read and %d lost, sent %d", got, since.DecisionsLost, flood/2)
	}
}

func TestDecisionsClose(t *testing.T) {
	d, err := load(t, 4).Maps().Decisions()
	check(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := d.Read()
		done <- err
	}()
	check(t, d.Close())
	select {
	case err := <-done:
		if !errors.Is(err, bpf.ErrClosed) {
			t.Fatalf("Read after Close: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close did not end Read")
	}
}

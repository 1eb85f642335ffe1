// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fakeClock is time that passes when somebody sleeps, sends or looks at it.
type fakeClock struct{ t time.Time }

func (c *fakeClock) now() time.Time {
	c.sleep(time.Microsecond)
	return c.t
}

func (c *fakeClock) sleep(d time.Duration) { c.t = c.t.Add(d) }

func TestPacerKeepsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(1000, 500_000).Draw(t, "rate")
		quantum := rapid.IntRange(1, 32).Draw(t, "quantum")
		clock := &fakeClock{t: time.Unix(1, 0)}
		p := pacer{rate: rate, quantum: quantum, now: clock.now, sleep: clock.sleep,
			send: func() (int, error) { clock.sleep(time.Microsecond); return quantum, nil }}
		sent, took, err := p.run(t.Context(), 200*time.Millisecond)
		if err != nil || took < 200*time.Millisecond {
			t.Fatalf("ran for %s: %v", took, err)
		}
		if want := rate * took.Seconds(); math.Abs(float64(sent)-want) > 2*float64(quantum)+want/100 {
			t.Errorf("sent %d, want %.0f", sent, want)
		}
	})
}

// A thread that did not run for a while must not send all of it at once.
func TestPacerGivesUpWhatItCouldNotSend(t *testing.T) {
	clock := &fakeClock{t: time.Unix(1, 0)}
	stalled := false
	p := pacer{rate: 10_000, quantum: 1, now: clock.now, sleep: clock.sleep, send: func() (int, error) {
		if !stalled && clock.t.Sub(time.Unix(1, 0)) > 300*time.Millisecond {
			stalled = true
			clock.sleep(500 * time.Millisecond)
		}
		return 1, nil
	}}
	sent, _, err := p.run(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if want := 5000 + 10_000*debt.Seconds(); float64(sent) > want+50 || sent < 4900 {
		t.Errorf("sent %d, want 5000 to %.0f", sent, want)
	}
}

func TestPacerEnds(t *testing.T) {
	broken := errors.New("broken")
	p := pacer{rate: math.Inf(1), quantum: 1, now: time.Now, sleep: time.Sleep, send: func() (int, error) { return 0, broken }}
	if _, _, err := p.run(t.Context(), time.Minute); err != broken {
		t.Errorf("a failed send: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, _, err := p.run(ctx, time.Minute); err != broken {
		t.Errorf("an ended context: %v", err)
	}
}

// A relay with a capacity: it delivers what it can, and under flood only a part
// of that.
func TestMaximumFindsTheCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wire := rapid.Float64Range(100_000, 1e6).Draw(t, "wire")
		capacity := rapid.Float64Range(5_000, 1e6).Draw(t, "capacity")
		livelock := rapid.Float64Range(0, 1).Draw(t, "delivered under flood")
		try := func(rate float64) (outcome, error) {
			o := outcome{offered: min(rate, wire)}
			o.delivered = o.offered
			if o.offered > capacity {
				o.delivered = capacity
				if math.IsInf(rate, 1) {
					o.delivered = capacity * livelock
				}
			}
			return o, nil
		}
		known, _ := try(20_000)
		got, err := maximum(known, try, 0.01, 8)
		if err != nil {
			t.Fatal(err)
		}
		if want := min(capacity, wire); got > want*1.001 || got < want*0.9 {
			t.Errorf("found %.0f, the capacity is %.0f", got, want)
		}
	})
}

func TestMaximumOfARelayThatDeliversNothing(t *testing.T) {
	got, err := maximum(outcome{offered: 100}, func(rate float64) (outcome, error) { return outcome{offered: min(rate, 1e5)}, nil }, 0.01, 6)
	if err != nil || got != 0 {
		t.Errorf("found %v (%v), want 0", got, err)
	}
}

// A relay that is good at the moderate rate, and at no higher one.
func TestMaximumKnowsTheModerateRate(t *testing.T) {
	try := func(rate float64) (outcome, error) { return outcome{offered: min(rate, 1e6)}, nil }
	if got, err := maximum(outcome{20_000, 19_900}, try, 0.01, 3); err != nil || got != 19_900 {
		t.Errorf("found %v (%v), want 19900", got, err)
	}
}

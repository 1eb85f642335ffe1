// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"iter"
)

// Counters are the router's sums over all CPUs since its maps were made. Read
// while frames are in flight, Received may lag behind the outcomes by some;
// with none in flight, it is their sum.
type Counters struct {
	// Received is the frames that the router saw.
	Received uint64
	// DecisionsLost is the events for which the ring buffer had no room. They
	// were counted like all others.
	DecisionsLost uint64

	outcomes [len(outcomes)]uint64
}

// Counters asks the kernel.
func (m *Maps) Counters() (Counters, error) {
	var perCPU [][counterWords]uint64
	if err := m.kernel.Counters.Lookup(uint32(0), &perCPU); err != nil {
		return Counters{}, fmt.Errorf("read the router's counters: %w", err)
	}
	var c Counters
	for _, cpu := range perCPU {
		c.Received += cpu[wordReceived]
		c.DecisionsLost += cpu[wordDecisionsLost]
		for i := range c.outcomes {
			c.outcomes[i] += cpu[firstOutcome+i]
		}
	}
	return c, nil
}

// Sub is what came since before.
func (c Counters) Sub(before Counters) Counters {
	c.Received -= before.Received
	c.DecisionsLost -= before.DecisionsLost
	for i := range c.outcomes {
		c.outcomes[i] -= before.outcomes[i]
	}
	return c
}

// Of is the frames with one outcome; 0 for an outcome that there is not.
func (c Counters) Of(o Outcome) uint64 {
	for i, known := range outcomes {
		if known == o {
			return c.outcomes[i]
		}
	}
	return 0
}

// All yields every outcome with its frames, zeros too.
func (c Counters) All() iter.Seq2[Outcome, uint64] {
	return func(yield func(Outcome, uint64) bool) {
		for i, n := range c.outcomes {
			if !yield(outcomes[i], n) {
				return
			}
		}
	}
}

func (c Counters) sum(of func(Outcome) bool) uint64 {
	var sum uint64
	for o, n := range c.All() {
		if of(o) {
			sum += n
		}
	}
	return sum
}

// Decided is the frames with any outcome: Relayed, Passed and Dropped.
func (c Counters) Decided() uint64 { return c.sum(func(Outcome) bool { return true }) }

// Relayed is the frames that the router sent. The device may still have failed
// to: its own statistics tell.
func (c Counters) Relayed() uint64 {
	return c.sum(func(o Outcome) bool { return o.Verdict == RelayTX || o.Verdict == RelayRedirect })
}

// Passed is the frames that went up to the host's stack.
func (c Counters) Passed() uint64 {
	return c.sum(func(o Outcome) bool { return o.Verdict == Pass })
}

// Dropped is the frames that went nowhere.
func (c Counters) Dropped() uint64 {
	return c.sum(func(o Outcome) bool { return o.Verdict == Drop })
}

// Reasons is the frames by reason, over verdicts and directions, without those
// that no frame had.
func (c Counters) Reasons() map[string]uint64 {
	reasons := make(map[string]uint64)
	for o, n := range c.All() {
		if n != 0 {
			reasons[o.Reason] += n
		}
	}
	return reasons
}

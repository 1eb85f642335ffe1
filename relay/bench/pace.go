// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"math"
	"time"
)

// pacer sends at a rate, or, with an infinite one, as fast as it can.
type pacer struct {
	rate    float64 // packets/s
	quantum int     // packets sent at a time
	now     func() time.Time
	sleep   func(time.Duration)
	send    func() (int, error) // a quantum, and how many of it were sent
}

const (
	// spin is the longest wait for which the pacer does not sleep.
	spin = 30 * time.Microsecond
	// debt is how far it may lag behind. What a thread that was kept from
	// running could not send is given up: sent at once, it would be a flood.
	debt = 3 * time.Millisecond
)

// run sends for d and says how many packets it sent, and in what time.
func (p *pacer) run(ctx context.Context, d time.Duration) (sent uint64, took time.Duration, err error) {
	start := p.now()
	given := 0.0
	for ctx.Err() == nil {
		took = p.now().Sub(start)
		if took >= d {
			return sent, took, nil
		}
		due := math.Inf(1)
		if !math.IsInf(p.rate, 1) {
			due = p.rate*took.Seconds() - float64(sent) - given
			if most := p.rate*debt.Seconds() + float64(p.quantum); due > most {
				given += due - most
			}
		}
		if due < float64(p.quantum) {
			if wait := time.Duration((float64(p.quantum) - due) / p.rate * float64(time.Second)); wait > spin {
				p.sleep(min(wait, d-took))
			}
			continue
		}
		n, err := p.send()
		if err != nil {
			return sent, took, err
		}
		sent += uint64(n)
	}
	return sent, took, context.Cause(ctx)
}

// outcome is what a trial at one rate came to, in packets/s.
type outcome struct{ offered, delivered float64 }

func (o outcome) loss() float64 {
	if o.offered == 0 {
		return 1
	}
	return max(1-o.delivered/o.offered, 0)
}

// maximum finds the most packets/s that are delivered while at most the fraction
// tolerated of what is offered is lost: RFC 2544 §26.1 with a loss that a shared
// machine cannot avoid. known is a trial at a moderate rate. It tries the highest
// rate there is, then halves the interval, in ratio, steps times.
func maximum(known outcome, try func(rate float64) (outcome, error), tolerated float64, steps int) (float64, error) {
	o, err := try(math.Inf(1))
	if err != nil || o.loss() <= tolerated {
		return o.delivered, err
	}
	// What is delivered under flood can be far below what could be without, so
	// it is only the first guess. Without a known good rate, the lower end is a
	// guess too, and moves down when it was wrong.
	best, low, high := 0.0, max(known.delivered/8, 1), o.offered
	if known.loss() <= tolerated {
		best, low = known.delivered, known.offered
	}
	for rate := max(o.delivered, low); steps > 0; steps, rate = steps-1, math.Sqrt(low*high) {
		if o, err = try(rate); err != nil {
			return 0, err
		}
		if o.loss() <= tolerated {
			best = max(best, o.delivered)
			low = max(low, rate)
		} else {
			high = min(high, rate)
		}
		if high <= low {
			low = high / 4
		}
	}
	return best, nil
}

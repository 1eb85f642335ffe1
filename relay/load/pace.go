// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"time"
)

// A pacer sends at a rate, in batches that stay small, and sleeps in between.
type pacer struct {
	rate int // packets/s
	now  func() time.Duration
	// sleep returns early when ctx ends.
	sleep func(ctx context.Context, d time.Duration)
}

const (
	// nap is the shortest sleep: what a timer can keep. At high rates it makes
	// batches of rate×nap packets.
	nap = 500 * time.Microsecond
	// batch is how many packets are sent before the clock is read again.
	batch = 64
	// debt is how far sending may lag behind. What a host that stood still
	// could not send is given up: sent at once, it would be another load than
	// the one asked for.
	debt = 20 * time.Millisecond
)

// run calls send for d, or until ctx ends or send fails, and says how long that
// was and how many packets were given up. The first packet goes at once.
func (p *pacer) run(ctx context.Context, d time.Duration, send func() error) (took time.Duration, skipped uint64, err error) {
	start := p.now()
	issued := uint64(0)
	for {
		took = min(p.now()-start, d)
		due := min(uint64(float64(p.rate)*took.Seconds())+1, max(uint64(float64(p.rate)*d.Seconds()), 1))
		if ctx.Err() != nil || took == d && due <= issued {
			return took, skipped, nil
		}
		if due <= issued {
			next := time.Duration(float64(issued) / float64(p.rate) * float64(time.Second))
			p.sleep(ctx, min(max(next-took, nap), d-took))
			continue
		}
		if most := uint64(float64(p.rate)*debt.Seconds()) + 1; due-issued > most {
			skipped += due - issued - most
			issued = due - most
		}
		for range min(due-issued, batch) {
			if err := send(); err != nil {
				return p.now() - start, skipped, err
			}
			issued++
		}
	}
}

// sleep sleeps.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

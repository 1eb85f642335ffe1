// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// figures are what one turn of a contestant gave.
type figures struct {
	CPU       time.Duration // the machine's per relayed packet, load included
	Foreign   float64       // CPUs that other processes used meanwhile, not in CPU
	Loss      float64       // of those packets, a fraction
	RoundTrip quantiles
	ToPeer    float64 // packets/s at most, ChannelData to UDP
	ToClients float64 // packets/s at most, UDP to ChannelData
}

// quantiles of round-trip times.
type quantiles struct{ P50, P99 time.Duration }

func quantilesOf(times []time.Duration) quantiles {
	slices.Sort(times)
	at := func(q float64) time.Duration {
		if len(times) == 0 {
			return 0
		}
		return times[min(int(q*float64(len(times))), len(times)-1)]
	}
	return quantiles{at(0.5), at(0.99)}
}

const (
	// settle is how long a trial waits, at a time, for what is still on its way.
	settle = 20 * time.Millisecond
	// grace is how long after the last packet was sent packets are still in time.
	grace = 2 * time.Millisecond
	// gentle and hard are how many frames the load sends at a time: few, as
	// packets of several clients may come together; and enough that sending them
	// is not what costs, yet from all CPUs together less than a socket queues.
	gentle, hard = 8, 32
)

// measure gives a contestant its turn.
func (s *scene) measure(ctx context.Context, c *contestant) (f figures, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", c.name, err)
		}
	}()
	p, err := s.open(c)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if f.RoundTrip, err = s.roundTrips(ctx, p); err != nil {
		return f, err
	}
	var use cpuUse
	var sent, relayed uint64
	for _, toPeer := range []bool{true, false} {
		most := &f.ToClients
		if toPeer {
			most = &f.ToPeer
		}
		err := s.sinking(p, toPeer, func(trial func(rate float64, n int, d time.Duration) (count, error)) error {
			if _, err := trial(s.options.rate, gentle, s.options.interval/10); err != nil { // caches, clocks
				return err
			}
			before, err := beginCPU()
			if err != nil {
				return err
			}
			n, err := trial(s.options.rate, gentle, s.options.interval)
			if err != nil {
				return err
			}
			after, err := endCPU()
			if err != nil {
				return err
			}
			use = use.plus(after.since(before, runtime.NumCPU()))
			sent, relayed = sent+n.sent, relayed+n.came
			*most, err = maximum(n.rates(), func(rate float64) (outcome, error) {
				n, err := trial(rate, hard, s.options.trial)
				return n.rates(), err
			}, s.options.loss, s.options.steps)
			return err
		})
		if err != nil {
			return f, err
		}
	}
	if relayed == 0 {
		return f, fmt.Errorf("of %d packets sent none was relayed", sent)
	}
	f.CPU = use.Busy / time.Duration(relayed)
	f.Foreign = use.Foreign.Seconds() / use.Wall.Seconds()
	f.Loss = max(1-float64(relayed)/float64(sent), 0)
	return f, nil
}

// count is what a trial came to: packets sent, those that came in time, and those
// that came at all.
type count struct {
	sent, prompt, came uint64
	took               time.Duration
}

// rates does not count what was late: a relay that cannot keep up with a rate
// but has room for what is left over at the end has not delivered at that rate.
func (c count) rates() outcome {
	if c.took <= 0 {
		return outcome{}
	}
	return outcome{float64(c.sent) / c.took.Seconds(), float64(c.prompt) / c.took.Seconds()}
}

// sinking runs fn while the peer, or the clients, count what comes in their
// driver and go no further.
func (s *scene) sinking(p *session, toPeer bool, fn func(trial func(rate float64, n int, d time.Duration) (count, error)) error) (err error) {
	end, framed := &s.peerEnd.xdpVariables, false
	if !toPeer {
		end, framed = &s.clientEnd.xdpVariables, p.framed
		// Only for as long as it takes: clients' sockets are to be reached as
		// a host's are, when round trips are measured.
		l, err := attachNative(s.client, s.clientEnd.Endpoint)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
	}
	defer func() { err = errors.Join(err, end.sink(0, false)) }()
	return fn(func(rate float64, n int, d time.Duration) (c count, err error) {
		trial := nextTrial()
		if err := end.sink(trial, framed); err != nil {
			return c, err
		}
		c.sent, c.took, err = s.source.run(s.ctx, p.frames(s, trial, toPeer), rate, n, d)
		if err != nil {
			return c, err
		}
		time.Sleep(grace)
		if c.prompt, err = end.counted(); err != nil {
			return c, err
		}
		// The next trial begins with empty queues.
		for last := ^uint64(0); c.came != last; {
			last = c.came
			time.Sleep(settle)
			if c.came, err = end.counted(); err != nil {
				return c, err
			}
		}
		return c, nil
	})
}

// roundTrips takes them one at a time, from a client that never sleeps to a peer
// that answers in its driver: what is measured is the way there and back, and
// the relay twice, and nobody's scheduler but the relay's.
func (s *scene) roundTrips(ctx context.Context, p *session) (quantiles, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const patience = 50 * time.Millisecond
	trial := nextTrial()
	out, payload := p.datagram()
	in := make([]byte, 2*len(out))
	pause := time.Duration(float64(time.Second) / s.options.pings)
	times := make([]time.Duration, 0, int(s.options.pings*s.options.interval.Seconds())+1)
	start := time.Now()
	for i := 0; time.Since(start) < s.options.interval && ctx.Err() == nil; i++ {
		fd := p.flows[i%len(p.flows)].fd
		sent := time.Now()
		stamp(payload, trial)
		if err := transmit(fd, out); err != nil {
			return quantiles{}, err
		}
		for waiting := true; waiting && time.Since(sent) < patience; {
			n, err := poll(fd, in)
			if err != nil {
				return quantiles{}, err
			}
			if n == 0 {
				yield() // or a relay that was woken on this CPU would wait for a tick
			}
			if payload := p.unframe(in[:n]); payload != nil {
				if took, of := stamped(payload); of == trial {
					times = append(times, took)
					waiting = false
				}
			}
		}
		if wait := time.Until(start.Add(time.Duration(i+1) * pause)); wait > 0 {
			time.Sleep(wait)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return quantiles{}, err
	}
	if len(times) == 0 {
		return quantiles{}, fmt.Errorf("no round trip to the peer in %s", s.options.interval)
	}
	return quantilesOf(times), nil
}

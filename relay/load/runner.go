// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"sync"
	"time"

	"plumbline/relay/probe"
)

// A runner is a run under way.
type runner struct {
	o       Options
	id      [8]byte
	start   time.Time
	began   time.Duration // sending
	lanes   []*lane
	failed  context.Context // its cause says what went wrong; sockets outlive it
	fail    context.CancelCauseFunc
	keeping context.Context // ends before allocations are given back
	release context.CancelFunc
	keepers sync.WaitGroup
	readers sync.WaitGroup
}

func newRunner(o Options) *runner {
	r := &runner{o: o, start: time.Now()}
	crand.Read(r.id[:]) // never fails
	r.failed, r.fail = context.WithCancelCause(context.Background())
	r.keeping, r.release = context.WithCancel(r.failed)
	return r
}

// now is the time since the run's start, by the monotonic clock.
func (r *runner) now() time.Duration { return time.Since(r.start) }

// open makes all lanes; when ctx ends first, that is its error.
func (r *runner) open(ctx context.Context) error {
	for i := range r.o.Allocations {
		if err := r.add(ctx, i); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("given up with %d of %d allocations made: %w", i, r.o.Allocations, ctx.Err())
			}
			return fmt.Errorf("allocation %d of %d: %w", i+1, r.o.Allocations, err)
		}
		r.report(Progress{Allocations: i + 1})
	}
	for _, l := range r.lanes {
		every := refreshEvery(l.allocation.Lifetime())
		if r.o.keepAlive > 0 {
			every = r.o.keepAlive
		}
		r.keepers.Go(func() {
			if err := l.keepAlive(r.keeping, every); err != nil {
				r.fail(err)
			}
		})
	}
	return nil
}

// add makes a lane. When ctx ends first, only this lane's socket closes: the
// others are needed to give their allocations back.
func (r *runner) add(ctx context.Context, i int) (err error) {
	life, end := context.WithCancelCause(context.Background())
	stop := context.AfterFunc(ctx, func() { end(ctx.Err()) })
	defer stop()
	l := new(lane)
	for w := range ways {
		l.streams[w] = &stream{run: r.id, identity: identity{uint16(i), w}}
	}
	l.allocation, err = probe.Allocate(life, r.o.client(), r.o.PeerAddress, func(b []byte) { l.streams[toClients].take(b, true, r.now()) })
	if err != nil {
		return err
	}
	r.lanes = append(r.lanes, l) // from here on close closes it
	if !r.o.PeerAddress.IsValid() {
		r.o.PeerAddress = l.allocation.Local().Addr()
	}
	r.o.Server = l.allocation.Server().String() // a name may have several addresses
	if l.peer, err = newPeer(r.o.PeerAddress); err != nil {
		return err
	}
	r.readers.Go(func() { l.peer.receive(l.streams[toPeers], l.allocation.Relayed(), r.now) })
	return l.allocation.Bind(life, l.peer.local)
}

// load sends in turn on all streams until the time is over, ctx ends, or
// something fails.
func (r *runner) load(ctx context.Context) (took time.Duration, skipped uint64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.failed, cancel)()
	r.began = r.now()
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	if r.o.Progress != nil {
		watching.Go(func() { r.watch(ctx) })
	}
	b := make([]byte, r.o.Size)
	turn, full := 0, uint64(0)
	pace := pacer{rate: r.o.Rate, now: r.now, sleep: sleep}
	took, skipped, err = pace.run(ctx, r.o.Duration, func() error {
		left, err := r.lanes[turn/int(ways)].send(way(turn%int(ways)), b, r.now)
		if !left {
			full++
		}
		turn = (turn + 1) % (len(r.lanes) * int(ways))
		return err
	})
	return took, skipped + full, err
}

func (r *runner) watch(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var d Direction
		for _, l := range r.lanes {
			for _, s := range l.streams {
				s.addTo(&d, nil)
			}
		}
		r.report(Progress{Allocations: len(r.lanes), Elapsed: min(r.now()-r.began, r.o.Duration), Sent: d.Sent, Received: d.Received,
			Bad: d.Duplicated + d.Corrupted + d.Misdelivered})
	}
}

func (r *runner) report(p Progress) {
	if r.o.Progress != nil {
		p.AllocationsWanted, p.Duration = r.o.Allocations, r.o.Duration
		r.o.Progress(p)
	}
}

// linger is how long copies of the last packets are waited for.
const linger = 200 * time.Millisecond

// drain waits for what is still under way: until all came and lingered, or the
// timeout. Each packet's own time is what counts, so looking now and then does.
func (r *runner) drain() {
	ctx, cancel := context.WithTimeout(r.failed, r.o.Timeout)
	defer cancel()
	for ctx.Err() == nil {
		if r.complete() {
			sleep(ctx, linger)
			if r.complete() { // always, but for a changed copy of one still to come
				return
			}
		}
		sleep(ctx, 5*time.Millisecond)
	}
}

func (r *runner) complete() bool {
	for _, l := range r.lanes {
		for _, s := range l.streams {
			if !s.complete() {
				return false
			}
		}
	}
	return true
}

// summarise fills in what came of the packets.
func (r *runner) summarise(result *Result, took time.Duration, skipped uint64) {
	result.TookS, result.Unsent = took.Seconds(), skipped
	for w, d := range map[way]*Direction{toPeers: &result.ToPeers, toClients: &result.ToClients} {
		all, last := new(histogram), time.Duration(0)
		for _, l := range r.lanes {
			last = max(last, l.streams[w].addTo(d, all))
		}
		d.times(all)
		d.rates(took, max(took, last-r.began), r.o.Size)
	}
	for _, l := range r.lanes {
		result.DroppedHere += l.allocation.Dropped() + l.peer.dropped()
		result.DataIndications += uint64(l.allocation.Indications())
	}
}

// close gives the allocations back and returns when nothing runs any more.
func (r *runner) close() {
	r.release()
	r.keepers.Wait()
	for _, l := range r.lanes {
		l.close()
	}
	r.readers.Wait()
	r.fail(nil)
}

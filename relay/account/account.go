// SPDX-License-Identifier: Apache-2.0

// Package account turns counters into evidence: it reads what both datapaths
// counted and writes route.decision, allocation.deleted and datapath.counters.
//
// Every packet that a datapath counted for a flow is in exactly one decision
// line: lines carry what came since the flow's line before. So at the end of a
// run, when nothing can be counted any more, the sums of the lines equal the
// counters. The router's ring buffer only makes lines prompt and gives examples;
// no sum depends on it.
package account

import (
	"context"
	"fmt"
	"sync"
	"time"

	"plumbline/logs"
	"plumbline/relay/datapath"
	"plumbline/relay/reconcile"
)

// cycleInterval is how soon a flow's first or changed decision is logged without
// a hint from the ring buffer.
const cycleInterval = time.Second

// kickDelay gathers hints and ended allocations that come close together.
const kickDelay = 50 * time.Millisecond

// Outcome is one of the router's counters.
type Outcome struct {
	Verdict   string // relay, pass, drop
	Direction string // none, to_peer, to_client
	Reason    string
	Packets   uint64
}

// KernelCounts are the router's counters since it was attached first in this
// run.
type KernelCounts struct {
	Received      uint64
	DecisionsLost uint64
	TxErrors      uint64
	Outcomes      []Outcome
}

// Kernel is what the account reads of the kernel path.
type Kernel interface {
	// Reap and Collect are the reconciler's.
	Reap() error
	Collect(onlyEnded bool, visit func(reconcile.FlowCount)) error
	Counts() (KernelCounts, error)
}

// Userspace is what the account reads of the user-space datapath.
type Userspace interface {
	Flows(visit func(datapath.FlowStat))
	Counters() logs.UserspaceCounters
}

// Options are the account's surroundings.
type Options struct {
	Sink      logs.Sink
	Userspace Userspace
	Interval  time.Duration    // between summaries
	Now       func() time.Time // nil: time.Now
}

// Account is the one reader of both datapaths' sums.
type Account struct {
	opt  Options
	kick chan struct{}

	// writing guards what WriteCounters needs. It is taken alone: the
	// reconciler writes counters while it holds its own lock.
	writing  sync.Mutex
	kernel   Kernel // nil: never attached
	lastLine time.Time

	// asking guards what others bring. It is held for moments only: the core
	// must not wait for a cycle, which waits for a grace period.
	asking    sync.Mutex
	deletions []logs.AllocationDeleted
	examples  map[string][]string // by reason
	hinted    bool

	mu         sync.Mutex // a cycle; taken before the others
	interval   time.Duration
	generation uint32
	streams    map[streamKey]*stream
	cumulative map[cumulativeKey]logs.Traffic
	totals     map[string]*total
	owned      map[string]uint64 // packets that the kernel relayed for flows, by direction
	lastSum    time.Time
}

// total is what an allocation relayed in its whole life.
type total struct{ toPeer, toClient logs.Shares }

// New is an account that starts now.
func New(opt Options) *Account {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	now := opt.Now()
	return &Account{
		opt: opt, kick: make(chan struct{}, 1), interval: opt.Interval, lastLine: now, lastSum: now,
		streams: map[streamKey]*stream{}, cumulative: map[cumulativeKey]logs.Traffic{},
		totals: map[string]*total{}, owned: map[string]uint64{}, examples: map[string][]string{},
	}
}

// Attach adds the kernel path's counters, which begin at zero, to the account.
// nil takes them out again, where the path could not be had; another may follow.
func (a *Account) Attach(k Kernel) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at := range a.cumulative {
		if at.datapath == "kernel" {
			delete(a.cumulative, at)
		}
	}
	clear(a.owned)
	a.writing.Lock()
	defer a.writing.Unlock()
	a.kernel = k
}

func (a *Account) source() Kernel {
	a.writing.Lock()
	defer a.writing.Unlock()
	return a.kernel
}

// Reconfigure sets the generation that decisions are logged under from now on,
// and the time between summaries. What was decided until now is logged first,
// under the generation before.
func (a *Account) Reconfigure(generation uint32, interval time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.generation != 0 && generation != a.generation {
		a.failed(a.cycle(true, true, false))
	}
	a.generation, a.interval = generation, interval
}

func (a *Account) failed(err error) {
	if err != nil {
		a.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: "the kernel's counters can't be read", Error: err.Error()})
	}
}

// Withdraw logs an allocation's end as soon as its last packets are counted.
// Both datapaths must have withdrawn it already.
func (a *Account) Withdraw(e logs.AllocationDeleted) {
	a.asking.Lock()
	a.deletions = append(a.deletions, e)
	a.asking.Unlock()
	a.wake()
}

// Hint says that some flow has news, so that it is logged without waiting for
// the next look.
func (a *Account) Hint() {
	a.asking.Lock()
	a.hinted = true
	a.asking.Unlock()
	a.wake()
}

// Example keeps a packet to show beside the next count of that reason.
func (a *Account) Example(reason, packet string) {
	a.asking.Lock()
	defer a.asking.Unlock()
	if len(a.examples[reason]) < 3 {
		a.examples[reason] = append(a.examples[reason], packet)
	}
}

func (a *Account) wake() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Serve looks at the datapaths until ctx ends.
func (a *Account) Serve(ctx context.Context) {
	tick := time.NewTicker(cycleInterval)
	defer tick.Stop()
	for {
		full := true
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.kick:
			select {
			case <-ctx.Done():
				return
			case <-time.After(kickDelay):
			}
			a.asking.Lock()
			full = a.hinted
			a.asking.Unlock()
		}
		a.failed(a.Cycle(full, false))
	}
}

// Final writes the last decisions and the run's final counters. Call it when
// neither datapath can count any more.
func (a *Account) Final() {
	if err := a.Cycle(true, true); err != nil {
		a.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: "the kernel's last counters can't be read", Error: err.Error()})
	}
	a.writeCounters(true)
}

// WriteCounters writes datapath.counters as of now.
func (a *Account) WriteCounters() { a.writeCounters(false) }

func (a *Account) writeCounters(final bool) {
	a.writing.Lock()
	defer a.writing.Unlock()
	line := logs.DatapathCounters{Final: final}
	if a.kernel != nil {
		counts, err := a.kernel.Counts()
		if err != nil {
			a.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: "the kernel's counters can't be read, so none are written", Error: err.Error()})
			return
		}
		line.Kernel = counts.sums()
	}
	line.Userspace = a.opt.Userspace.Counters()
	now := a.opt.Now()
	line.WindowMS = now.Sub(a.lastLine).Milliseconds()
	a.lastLine = now
	a.opt.Sink.Log(line)
}

// sums are the counters as datapath.counters shows them.
func (c KernelCounts) sums() *logs.KernelCounters {
	s := &logs.KernelCounters{TxErrors: c.TxErrors, DecisionsLost: c.DecisionsLost}
	s.Received, s.Reasons = c.Received, map[string]uint64{}
	for _, o := range c.Outcomes {
		if o.Packets == 0 {
			continue
		}
		s.Reasons[o.Reason] += o.Packets
		switch o.Verdict {
		case "relay":
			s.Relayed += o.Packets
		case "pass":
			s.Passed += o.Packets
		default:
			s.Dropped += o.Packets
		}
	}
	return s
}

// Cycle reads both datapaths and logs what there is to say. full looks at live
// flows too, otherwise only at those that have ended; last leaves nothing for a
// later cycle.
func (a *Account) Cycle(full, last bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	summary := last || a.opt.Now().Sub(a.lastSum) >= a.interval-cycleInterval/2
	return a.cycle(full, summary, last)
}

func (a *Account) cycle(full, summary, last bool) error {
	a.asking.Lock()
	a.hinted = a.hinted && !full
	deletions := a.deletions
	a.deletions = nil
	a.asking.Unlock()

	var failed error
	if k := a.source(); k != nil {
		if err := k.Reap(); err != nil {
			failed = err
		}
		if err := k.Collect(!full, a.addKernelFlow); err != nil {
			failed = fmt.Errorf("collecting flows: %w", err)
		}
		if full {
			if counts, err := k.Counts(); err != nil {
				failed = err
			} else {
				a.addKernelOutcomes(counts)
				if last && failed == nil {
					a.addUnowned(counts)
				}
			}
		}
	}
	a.opt.Userspace.Flows(a.addUserspaceFlow)

	now := a.opt.Now()
	ended := make(map[string]bool, len(deletions))
	for _, d := range deletions {
		ended[d.Allocation] = true
	}
	a.speak(now, summary, ended)
	for _, d := range deletions {
		if t := a.totals[d.Allocation]; t != nil {
			d.ToPeer, d.ToClient = t.toPeer, t.toClient
			delete(a.totals, d.Allocation)
		}
		a.opt.Sink.Log(d)
	}
	if summary {
		a.lastSum = now
		if !last {
			a.writeCounters(false)
		}
	}
	return failed
}

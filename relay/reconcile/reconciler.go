// SPDX-License-Identifier: Apache-2.0

// Package reconcile keeps the kernel's side equal to what the relay intends,
// and says so only after reading it back.
//
// Intent and effect are different values here. A config or a route goes into
// the kernel whole, is read back and compared field by field; afterwards a
// watcher goes on comparing for as long as the relay runs. What differs is
// logged with both sides, written again and read again. Nothing is ever
// skipped because it "has not changed": that a value was written once says
// nothing of what the map holds now.
package reconcile

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay/nexthop"
)

// LeaseTerm is how long the router goes on after its owner's last word. A dead
// relay's routes end by themselves after it.
const LeaseTerm = 30 * time.Second

// LeaseRenewal is how often a living owner renews the lease.
const LeaseRenewal = 5 * time.Second

// Kernel is what the reconciler needs of the router's maps; *bpf.Maps is one.
// Tests put faults between.
type Kernel interface {
	ReadSlot(slot uint32) (bpf.Slot, error)
	WriteSlot(slot uint32, s bpf.Slot) error
	ReadActive() (bpf.Active, error)
	WriteActive(bpf.Active) error
	Observed(slot uint32) ([]bpf.Observation, error)

	Routes() ([]bpf.Route, error)
	LookupRoute(bpf.RouteKey) (flow uint32, found bool, err error)
	PutRoute(key bpf.RouteKey, flow uint32) error
	DeleteRoute(bpf.RouteKey) error
	PutFlow(number uint32, f bpf.Flow) error
	ReadFlow(number uint32) (bpf.Flow, error)
	SetExpiry(number uint32, ns uint64) error
	FlowTraffic(number uint32) (packets, bytes uint64, err error)
}

// Resolver finds the next hop of a flow.
type Resolver interface {
	Resolve(source, destination netip.Addr) (nexthop.NextHop, error)
}

// Options are the reconciler's surroundings. All fields but Counters and Usable
// must be set.
type Options struct {
	Kernel   Kernel
	Sink     logs.Sink
	Resolver Resolver
	// Grace returns after every packet that was in the router when it was
	// called has left it.
	Grace func() error
	Now   func() time.Time
	// Monotonic is CLOCK_MONOTONIC in nanoseconds, the router's clock.
	Monotonic func() uint64
	// MaxFlows is the size of the flows map; numbers run from 1 to MaxFlows-1.
	MaxFlows uint32
	// Usable says whether the router can send out of that device; nil: always.
	Usable func(ifindex int) error
	// Counters writes datapath.counters; it is called around drift, so that
	// the drift's effect can be counted from the log.
	Counters func()
}

// Reconciler owns the router's config slots and routes: nobody else in user
// space writes those maps. Its methods may be called from any goroutine.
type Reconciler struct {
	opt Options

	mu sync.Mutex
	configState
	routeState
}

// New makes a reconciler over maps that hold no route yet. Nothing is written
// before the first Apply.
func New(opt Options) *Reconciler {
	if opt.Counters == nil {
		opt.Counters = func() {}
	}
	if opt.Usable == nil {
		opt.Usable = func(int) error { return nil }
	}
	r := &Reconciler{opt: opt}
	r.seen = map[observation]bool{}
	r.routes = map[string]map[uint16]*route{}
	r.byKey = map[bpf.RouteKey]*direction{}
	r.numbers = newNumbers(opt.MaxFlows)
	return r
}

// stepError is a failure of an apply with the step that it happened in.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return fmt.Sprintf("%s: %v", e.step, e.err) }
func (e *stepError) Unwrap() error { return e.err }

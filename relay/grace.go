// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"plumbline/bpf"
	"plumbline/logs"
)

// restInstead is how long what the router may still read is left alone where
// the kernel has no way to say that it no longer does. A run of the router
// takes microseconds with preemption off; more than a second of that is what
// the kernel's own watchdogs report as a stall.
const restInstead = 2 * time.Second

// grace waits until every packet that is in the router has left it: the router
// runs under RCU, so one RCU grace period is enough.
//
// membarrier(2) is the way that needs no privilege. Kernels booted with
// nohz_full refuse it. There, an update of a map of maps serves: before that
// system call returns, the kernel waits for the programs that may still use the
// map before (maybe_wait_bpf_programs in kernel/bpf/syscall.c, since 5.0). The
// last resort is to let time pass.
type grace struct {
	sink         logs.Sink
	barrier      func() error // bpf.GracePeriod
	outer, inner *ebpf.Map    // nil: could not be made
	sleep        func(time.Duration)
	said         sync.Once
}

// newGrace makes the maps while the privileges for it are held.
func newGrace(sink logs.Sink) *grace {
	g := &grace{sink: sink, barrier: bpf.GracePeriod, sleep: time.Sleep}
	if err := g.makeMaps(); err != nil {
		sink.Log(logs.Diagnostic{Level: logs.Debug, Text: "the second way to wait for the router's packets can't be had", Error: errors.Join(err, g.close()).Error()})
	}
	return g
}

func (g *grace) makeMaps() (err error) {
	inside := &ebpf.MapSpec{Name: "plumbline_rest", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	if g.inner, err = ebpf.NewMap(inside); err != nil {
		return fmt.Errorf("making an array: %w", err)
	}
	g.outer, err = ebpf.NewMap(&ebpf.MapSpec{Name: "plumbline_wait", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inside})
	if err != nil {
		return fmt.Errorf("making an array of maps: %w", err)
	}
	return nil
}

// wait returns when every run of the router that had begun before it has ended.
// It never fails.
func (g *grace) wait() error {
	barrier := g.barrier()
	if barrier == nil {
		return nil
	}
	way, err := "an update of a map of maps waits instead", error(nil)
	if g.outer == nil || g.inner == nil {
		err = errors.New("there are no maps to update")
	} else {
		err = g.outer.Put(uint32(0), g.inner)
	}
	if err != nil {
		way = fmt.Sprintf("what the router may read rests for %s instead", restInstead)
		barrier = errors.Join(barrier, err)
	}
	g.said.Do(func() {
		g.sink.Log(logs.Diagnostic{Level: logs.Warn, Text: "membarrier can't wait for the router's packets on this kernel: " + way, Error: barrier.Error()})
	})
	if err != nil {
		g.sleep(restInstead)
	}
	return nil
}

func (g *grace) close() error {
	var errs []error
	for _, m := range []*ebpf.Map{g.outer, g.inner} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	g.outer, g.inner = nil, nil
	return errors.Join(errs...)
}

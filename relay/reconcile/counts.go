// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"

	"plumbline/logs"
)

// FlowCount is what one direction of a route relayed in the kernel since it was
// last collected.
type FlowCount struct {
	Allocation string
	Client     logs.Addr
	Channel    logs.Channel
	Peer       logs.Addr
	Direction  string // ToPeer, ToClient
	Traffic    logs.Traffic
	Ended      bool // no packet can add to this flow number any more
}

// Collect hands over what each flow relayed since the last Collect. Every packet
// that the router counted for a flow is handed over exactly once. onlyEnded
// leaves out live flows. There may be one collector only.
func (r *Reconciler) Collect(onlyEnded bool, visit func(FlowCount)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.ended {
		visit(c)
	}
	r.ended = r.ended[:0]
	if onlyEnded {
		return nil
	}
	for _, d := range r.byKey {
		if err := r.visitSince(d, visit); err != nil {
			return err
		}
	}
	// Where no grace period can be had, these rest for long; what they have
	// counted must not wait for it.
	for _, d := range r.limbo {
		if err := r.visitSince(d, visit); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) visitSince(d *direction, visit func(FlowCount)) error {
	count, err := r.countSince(d)
	if err == nil && count.Traffic.Packets > 0 {
		visit(count)
	}
	return err
}

// Reap waits one grace period for the flows that have left the kernel, takes
// their last counts for the next Collect and frees their numbers.
func (r *Reconciler) Reap() error {
	r.mu.Lock()
	resting := r.limbo
	r.limbo = nil
	r.mu.Unlock()
	if len(resting) == 0 {
		return nil
	}
	err := r.opt.Grace()

	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.limbo = append(r.limbo, resting...)
		return fmt.Errorf("waiting for packets to leave the router: %w", err)
	}
	for i, d := range resting {
		count, err := r.countSince(d)
		if err != nil {
			r.limbo = append(r.limbo, resting[i:]...)
			return err
		}
		count.Ended = true
		r.ended = append(r.ended, count)
		r.numbers.give(d.number)
	}
	return nil
}

func (r *Reconciler) countSince(d *direction) (FlowCount, error) {
	packets, bytes, err := r.opt.Kernel.FlowTraffic(d.number)
	if err != nil {
		return FlowCount{}, fmt.Errorf("reading the counter of flow %d: %w", d.number, err)
	}
	total := logs.Traffic{Packets: packets, Bytes: bytes}.Sub(d.base)
	since := total.Sub(d.reported)
	d.reported = total
	return FlowCount{
		Allocation: d.route.id.allocation, Client: logs.Addr{AddrPort: d.route.tuple.Client},
		Channel: logs.Channel(d.route.id.channel), Peer: logs.Addr{AddrPort: d.route.peer},
		Direction: d.name, Traffic: since,
	}, nil
}

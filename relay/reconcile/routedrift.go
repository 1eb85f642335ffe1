// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"

	"plumbline/bpf"
	"plumbline/logs"
)

// Classes of route drift.
const (
	missing    = "missing"    // intended, and the kernel has no such key
	unexpected = "unexpected" // in the kernel, and nobody intends it
	different  = "different"  // the key leads to another number or another flow
	stale      = "stale"      // all as intended but the expiry
)

// CheckRoutes compares every route in the kernel with what is intended, in both
// ways: missing entries as well as surplus ones. What differs is logged as
// route.drifted, written again, read back and logged as route.repaired.
//
// A dump that is taken while routes change is no evidence, so each suspect is
// looked up once more under the lock before it is reported. The lock is given
// back between suspects: where somebody has emptied the map, channels and leases
// must not wait until all of it is written again. Counters are written once
// before the first drift and once after the last repair.
func (r *Reconciler) CheckRoutes() error {
	r.mu.Lock()
	intended := make(map[bpf.RouteKey]direction, len(r.byKey))
	for key, d := range r.byKey {
		intended[key] = *d
	}
	r.mu.Unlock()

	dump, err := r.opt.Kernel.Routes()
	if err != nil {
		return fmt.Errorf("reading the kernel's routes: %w", err)
	}
	var suspects []bpf.RouteKey
	held := make(map[bpf.RouteKey]uint32, len(dump))
	for _, route := range dump {
		held[route.Key] = route.Number
		if _, ok := intended[route.Key]; !ok {
			suspects = append(suspects, route.Key)
		}
	}
	for key, d := range intended {
		number, ok := held[key]
		if ok && number == d.number {
			flow, err := r.opt.Kernel.ReadFlow(d.number)
			if err != nil {
				return fmt.Errorf("reading flow %d: %w", d.number, err)
			}
			if flow == d.flow {
				continue
			}
		}
		suspects = append(suspects, key)
	}

	drifted := false
	before := func() {
		if !drifted {
			drifted = true
			r.opt.Counters()
		}
	}
	for _, key := range suspects {
		if err = r.checkSuspect(key, before); err != nil {
			break
		}
	}
	if drifted {
		r.opt.Counters()
	}
	return err
}

func (r *Reconciler) checkSuspect(key bpf.RouteKey, before func()) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checkRoute(key, before)
}

// checkRoute is the evidence: both sides of one key, read under the lock. It
// calls before just before it reports a difference.
func (r *Reconciler) checkRoute(key bpf.RouteKey, before func()) error {
	number, found, err := r.opt.Kernel.LookupRoute(key)
	if err != nil {
		return fmt.Errorf("looking up route %s: %w", key.String(), err)
	}
	d := r.byKey[key]
	if d == nil && !found {
		return nil
	}
	var flow bpf.Flow
	if found {
		if flow, err = r.opt.Kernel.ReadFlow(number); err != nil {
			// A number that the flows map doesn't have: show it as it is.
			flow = bpf.Flow{Key: key}
		}
	}
	if d == nil {
		before()
		return r.removeUnexpected(key, number, flow)
	}
	drift := logs.RouteDrifted{Route: r.describe(d.route), Direction: d.name, Intended: sideOf(d.number, d.flow)}
	switch {
	case !found:
		drift.Class = missing
		drift.Diff = []logs.Difference{{Field: "key", Intended: key.String(), Kernel: nil}}
	case number == d.number && flow == d.flow:
		return nil
	default:
		drift.Kernel = sideOf(number, flow)
		drift.Diff = compareFlows(d.flow, flow)
		if number != d.number {
			drift.Diff = append(drift.Diff, logs.Difference{Field: "flow", Intended: d.number, Kernel: number})
		}
		drift.Class = different
		if len(drift.Diff) == 1 && drift.Diff[0].Field == "expiry_ns" {
			drift.Class = stale
		}
	}
	before()
	r.opt.Sink.Log(drift)
	err = r.repair(d, drift.Class)
	r.opt.Sink.Log(logs.RouteRepaired{Route: r.describe(d.route), Class: drift.Class, Verified: err == nil})
	if err != nil {
		r.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: "a drifted route could not be repaired, the next look tries again", Error: err.Error()})
	}
	return nil
}

// repair writes a direction again. A damaged flow gets a new number, as packets
// may be reading the old one; a wrong expiry alone is written in place.
func (r *Reconciler) repair(d *direction, class string) error {
	if class == stale {
		if err := r.opt.Kernel.SetExpiry(d.number, d.flow.ExpiryNS); err != nil {
			return err
		}
		got, err := r.opt.Kernel.ReadFlow(d.number)
		if err == nil && got != d.flow {
			err = fmt.Errorf("flow %d still differs: %v", d.number, compareFlows(d.flow, got))
		}
		return err
	}
	now, err := r.putDirection(d.route, d.name, d.flow)
	if err != nil {
		// putDirection left no key; the route goes on in user space until the
		// next look finds it missing.
		r.byKey[d.flow.Key] = d
		return err
	}
	if d.name == ToPeer {
		d.route.toPeer = now
	} else {
		d.route.toClient = now
	}
	r.limbo = append(r.limbo, d)
	return nil
}

func (r *Reconciler) removeUnexpected(key bpf.RouteKey, number uint32, flow bpf.Flow) error {
	direction := ToClient
	if key.Channel != 0 { // only what clients send carries one
		direction = ToPeer
	}
	r.opt.Sink.Log(logs.RouteDrifted{Class: unexpected, Direction: direction, Kernel: sideOf(number, flow), Diff: []logs.Difference{
		{Field: "key", Intended: nil, Kernel: key.String()}}})
	err := r.opt.Kernel.DeleteRoute(key)
	if err == nil {
		var found bool
		if _, found, err = r.opt.Kernel.LookupRoute(key); err == nil && found {
			err = fmt.Errorf("the route %s is still there", key.String())
		}
	}
	r.opt.Sink.Log(logs.RouteRepaired{Class: unexpected, Verified: err == nil})
	if err != nil {
		r.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: "an unexpected route could not be removed, the next look tries again", Error: err.Error()})
	}
	return nil
}

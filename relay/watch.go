// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"net/netip"
	"time"

	"plumbline/logs"
	"plumbline/relay/nexthop"
	"plumbline/relay/reconcile"
)

// lookInterval is how often the kernel's config is compared with intent; routes
// and the device are looked at every second time.
const lookInterval = 500 * time.Millisecond

// watch compares the kernel with intent until ctx ends, and follows the network.
func (o *offload) watch(ctx context.Context) {
	var changes <-chan nexthop.Batch
	var again reconcile.Affected // what is asked for again at each look; nil: what waits only
	unheard := func(why string) {
		again = func(netip.Addr, netip.Addr, nexthop.NextHop) bool { return true }
		o.sink.Log(logs.Diagnostic{Level: logs.Warn, Text: "the kernel does not tell of changed routes and neighbours, so every next hop is asked for again each second", Error: why})
	}
	if w, err := nexthop.Changes(ctx); err != nil {
		unheard(err.Error())
	} else {
		changes = w
	}
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	lease := time.NewTicker(reconcile.LeaseRenewal)
	defer lease.Stop()
	for looks := 0; ; {
		select {
		case <-ctx.Done():
			return
		case batch, listening := <-changes:
			if !listening {
				changes = nil
				if ctx.Err() == nil {
					unheard("rtnetlink can't be read any more")
				}
				continue
			}
			if r := o.loaded(); r != nil {
				r.Refresh(batch.Affects)
			}
		case <-lease.C:
			o.lookOr(func(r *reconcile.Reconciler) error { return r.RenewLease() })
		case <-tick.C:
			o.lookOr(func(r *reconcile.Reconciler) error {
				right := r.CheckConfig("periodic")
				o.drifting.Store(!right && !r.CheckConfig("periodic"))
				return r.Observe()
			})
			if looks++; looks%2 == 0 {
				o.lookOr((*reconcile.Reconciler).CheckRoutes)
				o.lookOr(func(r *reconcile.Reconciler) error { r.Refresh(again); return nil })
				o.checkDevice(ctx)
			}
		}
	}
}

// lookOr runs one look at the kernel and logs what kept it from seeing.
func (o *offload) lookOr(look func(*reconcile.Reconciler) error) {
	r := o.loaded()
	if r == nil {
		return
	}
	if err := look(r); err != nil {
		o.sink.Log(logs.Diagnostic{Level: logs.Error, Text: "the kernel's side can't be compared with intent", Error: err.Error()})
	}
}

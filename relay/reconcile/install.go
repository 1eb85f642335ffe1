// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay/nexthop"
)

func (r *Reconciler) install(rt *route) { r.installWith(rt, nil) }

// installWith puts both directions into the kernel, reads them back, and logs
// what came of it. A failure is logged once, not at each new try.
func (r *Reconciler) installWith(rt *route, known map[[2]netip.Addr]hopResult) {
	if r.suspended {
		return
	}
	toPeer, toClient, err := r.flows(rt, known)
	if err == nil {
		err = r.put(rt, toPeer, toClient)
	}
	if err != nil {
		if rt.failure != err.Error() {
			rt.failure = err.Error()
			r.opt.Sink.Log(logs.RouteFailed{Route: r.describe(rt), Error: err.Error(), Datapath: "userspace",
				Pending: errors.Is(err, nexthop.ErrUnresolved), ByDesign: errors.Is(err, errNotCarried)})
		}
		return
	}
	rt.failure = ""
	r.opt.Sink.Log(logs.RouteInstalled{Route: r.describe(rt)})
}

func (r *Reconciler) put(rt *route, toPeer, toClient bpf.Flow) error {
	first, err := r.putDirection(rt, ToPeer, toPeer)
	if err != nil {
		return err
	}
	second, err := r.putDirection(rt, ToClient, toClient)
	if err != nil {
		r.retire(first)
		return err
	}
	rt.toPeer, rt.toClient = first, second
	return nil
}

// putDirection writes a flow under a number that no packet reads, then the key
// that leads to it, and reads both back.
func (r *Reconciler) putDirection(rt *route, name string, f bpf.Flow) (*direction, error) {
	if other := r.byKey[f.Key]; other != nil && other.route != rt {
		// Two routes with one key: two clients can't have the same 5-tuple,
		// and a relayed address belongs to one allocation.
		return nil, fmt.Errorf("the key %s is taken by %s", f.Key, other.route.id.allocation)
	}
	number, ok := r.numbers.take()
	if !ok {
		return nil, fmt.Errorf("all %d flow numbers of the router are in use: %w", r.opt.MaxFlows-1, bpf.ErrFull)
	}
	d := &direction{route: rt, name: name, number: number, flow: f}
	if err := r.commit(d); err != nil {
		r.limbo = append(r.limbo, d)
		return nil, err
	}
	r.byKey[f.Key] = d
	return d, nil
}

// commit writes a direction's flow and key, and reads both back. On an error
// the key leads nowhere.
func (r *Reconciler) commit(d *direction) error {
	k := r.opt.Kernel
	packets, bytes, err := k.FlowTraffic(d.number)
	if err != nil {
		return fmt.Errorf("reading the counter of flow %d: %w", d.number, err)
	}
	d.base = logs.Traffic{Packets: packets, Bytes: bytes}
	d.reported = logs.Traffic{}
	if err := k.PutFlow(d.number, d.flow); err != nil {
		return fmt.Errorf("writing flow %d: %w", d.number, err)
	}
	if got, err := k.ReadFlow(d.number); err != nil {
		return fmt.Errorf("reading back flow %d: %w", d.number, err)
	} else if got != d.flow {
		return fmt.Errorf("flow %d reads back different: %v", d.number, compareFlows(d.flow, got))
	}
	if err := k.PutRoute(d.flow.Key, d.number); err != nil {
		return fmt.Errorf("writing route %s: %w", d.flow.Key, err)
	}
	got, found, err := k.LookupRoute(d.flow.Key)
	if err == nil && (!found || got != d.number) {
		err = fmt.Errorf("route %s reads back %d (found: %t), want %d", d.flow.Key, got, found, d.number)
	}
	if err != nil {
		return errors.Join(err, k.DeleteRoute(d.flow.Key))
	}
	return nil
}

// retire takes a direction out of the kernel. Its number rests in limbo until
// Reap has seen a grace period pass.
func (r *Reconciler) retire(d *direction) {
	if r.byKey[d.flow.Key] == d {
		delete(r.byKey, d.flow.Key)
		if err := r.opt.Kernel.DeleteRoute(d.flow.Key); err != nil {
			// The watcher will find the key as unexpected and try again.
			r.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: "a route could not be removed from the kernel", Error: err.Error()})
		}
	}
	r.limbo = append(r.limbo, d)
}

// uninstall takes a route's directions out of the kernel; the route goes on in
// user space.
func (r *Reconciler) uninstall(rt *route, reason string) {
	if rt.toPeer == nil {
		return
	}
	r.retire(rt.toPeer)
	r.retire(rt.toClient)
	rt.toPeer, rt.toClient = nil, nil
	r.opt.Sink.Log(logs.RouteRemoved{
		Allocation: rt.id.allocation, Client: logs.Addr{AddrPort: rt.tuple.Client}, Channel: logs.Channel(rt.id.channel),
		Peer: logs.Addr{AddrPort: rt.peer}, Relayed: logs.Addr{AddrPort: rt.public}, Reason: reason,
	})
}

// drop ends a route.
func (r *Reconciler) drop(rt *route, reason string) {
	r.uninstall(rt, reason)
	channels := r.routes[rt.id.allocation]
	delete(channels, rt.id.channel)
	if len(channels) == 0 {
		delete(r.routes, rt.id.allocation)
	}
}

// prolong writes new expiries into the flows in place: the one field that may
// change while a number lives.
func (r *Reconciler) prolong(rt *route, expires, permits time.Time) {
	if expires.Equal(rt.expires) && permits.Equal(rt.permits) {
		return
	}
	from := rt.expires
	rt.expires, rt.permits = expires, permits
	if rt.toPeer == nil {
		r.install(rt)
		return
	}
	for _, d := range []*direction{rt.toPeer, rt.toClient} {
		until := rt.expires
		if d == rt.toClient {
			until = earlier(rt.expires, rt.permits)
		}
		d.flow.ExpiryNS = r.monotonic(until)
		if err := r.opt.Kernel.SetExpiry(d.number, d.flow.ExpiryNS); err != nil {
			r.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: fmt.Sprintf("the expiry of flow %d could not be written, the watcher will repair it", d.number), Error: err.Error()})
		}
	}
	if !from.Equal(expires) {
		r.opt.Sink.Log(logs.RouteUpdated{Route: r.describe(rt), Changes: []logs.Change{
			{Field: "expires", From: logs.Time{Time: from}, To: logs.Time{Time: expires}}}})
	}
}

// follow gives a route whose next hop has changed new flow numbers. Numbers are
// never rewritten: a packet may be reading them.
func (r *Reconciler) follow(rt *route, known map[[2]netip.Addr]hopResult) {
	toPeer, toClient, err := r.flows(rt, known)
	if err != nil {
		r.uninstall(rt, "next_hop_lost")
		r.installWith(rt, known) // logs why it can't be had
		return
	}
	var changes []logs.Change
	for _, side := range []struct {
		at   **direction
		want bpf.Flow
	}{{&rt.toPeer, toPeer}, {&rt.toClient, toClient}} {
		old := *side.at
		side.want.ExpiryNS = old.flow.ExpiryNS
		if old.flow == side.want {
			continue
		}
		now, err := r.putDirection(rt, old.name, side.want)
		if err != nil {
			r.uninstall(rt, "next_hop_changed")
			rt.failure = ""
			r.installWith(rt, known)
			return
		}
		// The key leads to the new number already; the old one only rests.
		*side.at = now
		r.limbo = append(r.limbo, old)
		changes = append(changes, logs.Change{Field: "next_hop_" + old.name, From: hopText(old.flow), To: hopText(side.want)})
	}
	if len(changes) > 0 {
		r.opt.Sink.Log(logs.RouteUpdated{Route: r.describe(rt), Changes: changes})
	}
}

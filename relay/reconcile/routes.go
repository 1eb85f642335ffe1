// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay/nexthop"
	"plumbline/relay/turn"
)

// routeState is what is intended of routes, and the numbers that carry them.
type routeState struct {
	routes  map[string]map[uint16]*route // by allocation and channel
	byKey   map[bpf.RouteKey]*direction
	numbers numbers
	// suspended: the router is not attached, so nothing is installed.
	suspended bool
	limbo     []*direction // out of the kernel, perhaps not yet out of its packets' hands
	ended     []FlowCount  // final counts that Collect has not handed over yet
}

// routeID identifies a route: a channel of an allocation.
type routeID struct {
	allocation string
	channel    uint16
}

// Directions of a route, as log lines write them.
const (
	ToPeer   = "to_peer"
	ToClient = "to_client"
)

// route is a channel's two directions. Either both are in the kernel or none is.
type route struct {
	id      routeID
	user    string
	tuple   turn.FiveTuple
	peer    netip.AddrPort
	relayed netip.AddrPort // on the wire
	public  netip.AddrPort // as the client was told
	expires time.Time      // the channel's or the allocation's end
	permits time.Time      // the permission's end, zero where there is none

	peerHop, clientHop nexthop.NextHop // as resolved last
	toPeer, toClient   *direction      // nil: not in the kernel
	failure            string          // why not, once it was logged
}

// direction is one installed key with its flow.
type direction struct {
	route    *route
	name     string // ToPeer, ToClient
	number   uint32
	flow     bpf.Flow
	base     logs.Traffic // what the counter held before this flow
	reported logs.Traffic // what Collect has handed over
}

// Publish makes the kernel's routes follow one allocation's published state: new
// channels are installed, ended ones removed, changed expiries written. What the
// kernel can't take is relayed in user space and logged as route.failed.
// When Publish returns, the routes it could install are in effect.
func (r *Reconciler) Publish(v *turn.View) {
	r.mu.Lock()
	defer r.mu.Unlock()

	live := make(map[uint16]bool, len(v.Channels))
	for _, c := range v.Channels {
		live[c.Number] = true
		if old := r.routes[v.ID][c.Number]; old != nil && old.peer != c.Peer {
			r.drop(old, "rebound")
		}
	}
	for channel, old := range r.routes[v.ID] {
		if !live[channel] {
			r.drop(old, "channel_ended")
		}
	}
	for _, c := range v.Channels {
		expires := c.Expires
		if v.Expires.Before(expires) {
			expires = v.Expires
		}
		permits := v.Permissions[c.Peer.Addr().Unmap()]
		rt := r.routes[v.ID][c.Number]
		if rt == nil {
			rt = &route{id: routeID{v.ID, c.Number}, user: v.User, tuple: v.Tuple, peer: c.Peer, relayed: v.Relayed, public: v.Public, expires: expires, permits: permits}
			if r.routes[v.ID] == nil {
				r.routes[v.ID] = map[uint16]*route{}
			}
			r.routes[v.ID][c.Number] = rt
			r.install(rt)
			continue
		}
		r.prolong(rt, expires, permits)
	}
}

// Withdraw removes an allocation's routes. Their last counts reach Collect after
// the next Reap.
func (r *Reconciler) Withdraw(allocation, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rt := range r.routes[allocation] {
		r.drop(rt, reason)
	}
}

// Suspend removes every route from the kernel and installs none until Resume.
// What is intended is kept and followed meanwhile.
func (r *Reconciler) Suspend(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspended = true
	for rt := range r.all() {
		r.uninstall(rt, reason)
	}
}

// Resume installs what is intended by now. It does nothing without a Suspend.
func (r *Reconciler) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.suspended {
		return
	}
	r.suspended = false
	for rt := range r.all() {
		r.install(rt)
	}
}

// Affected says whether the way from a local address to a remote one may have
// changed; nexthop.Batch.Affects is one.
type Affected func(local, remote netip.Addr, hop nexthop.NextHop) bool

// Refresh follows the next hops that have changed, and tries again what is not
// in the kernel. A nil affected tries again only.
func (r *Reconciler) Refresh(affected Affected) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hops := map[[2]netip.Addr]hopResult{}
	for rt := range r.all() {
		switch {
		case rt.toPeer == nil:
			r.installWith(rt, hops)
		case affected != nil && (affected(rt.relayed.Addr(), rt.peer.Addr(), rt.peerHop) ||
			affected(rt.tuple.Server.Addr(), rt.tuple.Client.Addr(), rt.clientHop)):
			r.follow(rt, hops)
		}
	}
}

// rangeChanged looks again at routes whose relayed port the router's new range
// may have left or let in. The lock is held.
func (r *Reconciler) rangeChanged() {
	for rt := range r.all() {
		if rt.toPeer != nil && !r.inRange(rt) {
			r.uninstall(rt, "port_range")
		}
		if rt.toPeer == nil {
			r.install(rt)
		}
	}
}

// all yields every route. Routes may be dropped on the way.
func (r *Reconciler) all() iter.Seq[*route] {
	return func(yield func(*route) bool) {
		for _, channels := range r.routes {
			for _, rt := range channels {
				if !yield(rt) {
					return
				}
			}
		}
	}
}

func (r *Reconciler) inRange(rt *route) bool {
	return r.applied && rt.relayed.Port() >= r.intended.LowestPort && rt.relayed.Port() <= r.intended.HighestPort &&
		slices.Contains(r.intended.ListenPorts, rt.tuple.Server.Port())
}

type hopResult struct {
	hop nexthop.NextHop
	err error
}

func (r *Reconciler) resolve(source, destination netip.Addr, known map[[2]netip.Addr]hopResult) (nexthop.NextHop, error) {
	pair := [2]netip.Addr{source, destination}
	got, ok := known[pair]
	if !ok {
		got.hop, got.err = r.opt.Resolver.Resolve(source, destination)
		if got.err == nil {
			got.err = r.opt.Usable(got.hop.Ifindex)
		}
		if known != nil {
			known[pair] = got
		}
	}
	return got.hop, got.err
}

// flows are both directions of a route as the kernel should hold them.
func (r *Reconciler) flows(rt *route, known map[[2]netip.Addr]hopResult) (toPeer, toClient bpf.Flow, err error) {
	switch {
	case !rt.peer.Addr().Unmap().Is4() || !rt.tuple.Client.Addr().Unmap().Is4():
		return toPeer, toClient, fmt.Errorf("%w: the router relays IPv4 alone", errNotCarried)
	case !r.inRange(rt):
		return toPeer, toClient, fmt.Errorf("port %d is outside the router's range %d-%d", rt.relayed.Port(), r.intended.LowestPort, r.intended.HighestPort)
	case rt.peer.Addr().Unmap() == rt.public.Addr().Unmap() || rt.peer.Addr().Unmap() == rt.relayed.Addr().Unmap():
		return toPeer, toClient, fmt.Errorf("%w: the peer is this relay itself (hairpin)", errNotCarried)
	}
	client, server := unmapped(rt.tuple.Client), unmapped(rt.tuple.Server)
	peer, relayed := unmapped(rt.peer), unmapped(rt.relayed)
	peerHop, err := r.resolve(relayed.Addr(), peer.Addr(), known)
	if err != nil {
		return toPeer, toClient, hopError("peer", peer.Addr(), err)
	}
	clientHop, err := r.resolve(server.Addr(), client.Addr(), known)
	if err != nil {
		return toPeer, toClient, hopError("client", client.Addr(), err)
	}
	rt.peerHop, rt.clientHop = peerHop, clientHop
	toPeer = bpf.Flow{
		Key:    bpf.RouteKey{Remote: client, Local: server, Channel: rt.id.channel},
		Source: relayed, Destination: peer,
		Ifindex: uint32(peerHop.Ifindex), SrcMAC: peerHop.SrcMAC, DstMAC: peerHop.DstMAC, MTU: mtu(peerHop.MTU),
		ExpiryNS: r.monotonic(rt.expires),
	}
	toClient = bpf.Flow{
		Key:    bpf.RouteKey{Remote: peer, Local: relayed},
		Source: server, Destination: client, Channel: rt.id.channel,
		Ifindex: uint32(clientHop.Ifindex), SrcMAC: clientHop.SrcMAC, DstMAC: clientHop.DstMAC, MTU: mtu(clientHop.MTU),
		ExpiryNS: r.monotonic(earlier(rt.expires, rt.permits)),
	}
	return toPeer, toClient, nil
}

// errNotCarried is of routes that the router is not made for. They are no
// failure: user space carries them.
var errNotCarried = errors.New("not for the kernel")

// hopError says which end can't be reached. Waiting for a neighbour is ordinary,
// and said in fewer words than a failure.
func hopError(who string, addr netip.Addr, err error) error {
	if errors.Is(err, nexthop.ErrUnresolved) {
		return fmt.Errorf("the %s %s: %w", who, addr, nexthop.ErrUnresolved)
	}
	return fmt.Errorf("next hop to the %s %s: %w", who, addr, err)
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func mtu(n int) uint16 { return uint16(min(max(n, 0), 65535)) }

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// monotonic is a moment on the router's clock. A moment that has passed is 1:
// expired, and still told apart from an entry that nobody wrote.
func (r *Reconciler) monotonic(t time.Time) uint64 {
	if t.IsZero() {
		return 1
	}
	return uint64(max(int64(r.opt.Monotonic())+int64(t.Sub(r.opt.Now())), 1))
}

// describe is a route as its events show it.
func (r *Reconciler) describe(rt *route) logs.Route {
	return logs.Route{
		Allocation: rt.id.allocation, Client: logs.Addr{AddrPort: rt.tuple.Client}, Channel: logs.Channel(rt.id.channel),
		Peer: logs.Addr{AddrPort: rt.peer}, Relayed: logs.Addr{AddrPort: rt.public},
		Paths:      []string{"channel4>udp4", "udp4>channel4"},
		Generation: r.intended.Generation, Expires: logs.Time{Time: rt.expires},
	}
}

// Installed shows the routes of an allocation that the kernel was given, for
// checkpoints. No route comes or goes, and none of its events is logged, before
// show has returned: what it logs is exact at its place among them.
func (r *Reconciler) Installed(allocation string, show func([]logs.Route)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	routes := []logs.Route{}
	for _, rt := range r.routes[allocation] {
		if rt.toPeer != nil {
			routes = append(routes, r.describe(rt))
		}
	}
	slices.SortFunc(routes, func(a, b logs.Route) int { return int(a.Channel) - int(b.Channel) })
	show(routes)
}

// Routes counts the directions that were put into the kernel, and the channels
// that wait outside it.
func (r *Reconciler) Routes() (installed, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for rt := range r.all() {
		if rt.toPeer == nil {
			waiting++
		}
	}
	return len(r.byKey), waiting
}

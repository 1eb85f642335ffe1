// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync/atomic"
	"time"

	"plumbline/logs"
	"plumbline/relay/turn"
)

// An allocation is one entry of the flow table. What packets see of it is
// replaced whole.
type allocation struct {
	id       string
	current  atomic.Pointer[snapshot]
	toPeer   ledger
	toClient ledger
}

// A snapshot is a View with the sockets that its packets leave by.
type snapshot struct {
	*turn.View
	client *socket // to the client; nil: nowhere
	peer   *socket // to the peers; nil: not bound
}

// Bind opens the UDP socket of a relayed transport address. Datagrams to it are
// dropped until an allocation with that address is published.
func (d *Datapath) Bind(relayed netip.AddrPort) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("bind relayed transport address %s: the data path is closed", relayed)
	}
	if d.bound[relayed] != nil {
		return fmt.Errorf("bind relayed transport address %s: it is bound already", relayed)
	}
	if relayed.Port() == 0 || relayed.Addr().IsUnspecified() {
		return fmt.Errorf("bind relayed transport address %s: %w", relayed, errors.New("want a specific address and port"))
	}
	s, err := relay(relayed, d.options)
	if err != nil {
		return err
	}
	d.bound[relayed] = s
	d.open[s] = struct{}{}
	d.readers.Add(1)
	go d.readPeers(s)
	return nil
}

// Release closes the socket that Bind opened. An address that is not bound is
// left alone. The address is free when Release returns.
func (d *Datapath) Release(relayed netip.AddrPort) {
	d.mu.Lock()
	s := d.bound[relayed]
	delete(d.bound, relayed)
	d.mu.Unlock()
	if s != nil {
		s.close() // its reader retires it
	}
}

// Publish replaces what packets see of one allocation. When it returns, every
// packet that is read later is decided from view. The view must not change any
// more.
func (d *Datapath) Publish(view *turn.View) {
	next := &snapshot{View: view}
	d.mu.Lock()
	defer d.mu.Unlock()
	next.client = d.listenerFor(view.Tuple.Server)
	next.peer = d.bound[view.Relayed]
	a := d.live[view.ID]
	if a == nil {
		a = &allocation{id: view.ID}
		d.live[view.ID] = a
	}
	last := a.current.Swap(next)
	if last != nil && (last.Tuple != view.Tuple || last.Relayed != view.Relayed || last.Public != view.Public) {
		d.unlink(a, last.View)
		last = nil
	}
	if last == nil {
		d.owns(view.Relayed.Addr(), view.Public.Addr())
		d.byRelayed.set(view.Relayed, a)
		d.byPublic.set(view.Public, a)
		d.byTuple.set(view.Tuple, a)
	}
}

// Withdraw ends an allocation: no packet of it is relayed once Withdraw has
// returned. The sums are what was relayed in its whole life, exactly.
func (d *Datapath) Withdraw(id string) (toPeer, toClient logs.Traffic) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.live[id]
	if a == nil {
		return toPeer, toClient
	}
	delete(d.live, id)
	d.unlink(a, a.current.Load().View)
	toPeer, toClient = a.toPeer.close(), a.toClient.close()
	d.keepEnded(a)
	return toPeer, toClient
}

// unlink takes an allocation out of the look-ups, but leaves those entries
// alone that another one has taken over.
func (d *Datapath) unlink(a *allocation, view *turn.View) {
	if d.byTuple.get(view.Tuple) == a {
		d.byTuple.remove(view.Tuple)
	}
	if d.byPublic.get(view.Public) == a {
		d.byPublic.remove(view.Public)
	}
	if d.byRelayed.get(view.Relayed) == a {
		d.byRelayed.remove(view.Relayed)
	}
}

// owns remembers the IP addresses that relayed ports are on, of which a relay
// has few: packets of other peers are spared the look-up for hairpins.
func (d *Datapath) owns(addrs ...netip.Addr) {
	for _, addr := range addrs {
		if set := *d.own.Load(); !has(set, addr) && addr.IsValid() {
			set = maps.Clone(set)
			set[addr] = struct{}{}
			d.own.Store(&set)
		}
	}
}

func has(set map[netip.Addr]struct{}, addr netip.Addr) bool {
	_, ok := set[addr]
	return ok
}

// onWire is the address that packets to a peer carry: a peer that is a public
// relayed transport address of this relay is reached at its local one. ok is
// false where the peer's address is open for live allocations only, and has
// none at that port.
func (d *Datapath) onWire(view *snapshot, peer netip.AddrPort, now time.Time) (wire netip.AddrPort, ok bool) {
	if has(*d.own.Load(), peer.Addr()) {
		if a := d.byPublic.get(peer); a != nil {
			if target := a.current.Load(); now.Before(target.Expires) {
				return target.Relayed, true
			}
		}
	}
	return peer, !view.OnlyRelayed(peer.Addr())
}

// asTold is the peer address that a client knows the source of a packet by: the
// reverse of onWire.
func (d *Datapath) asTold(view *snapshot, source netip.AddrPort) (peer netip.AddrPort, ok bool) {
	if has(*d.own.Load(), source.Addr()) {
		if a := d.byRelayed.get(source); a != nil {
			return a.current.Load().Public, true
		}
	}
	return source, !view.OnlyRelayed(source.Addr())
}

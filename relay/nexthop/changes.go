// SPDX-License-Identifier: Apache-2.0

package nexthop

import (
	"context"
	"fmt"
	"net/netip"
)

// Kind is what has changed.
type Kind uint8

const (
	Link      Kind = iota + 1 // a device came, went, or changed (up, MAC, MTU)
	Address                   // an address was added or removed
	Route                     // a route was added, replaced or removed
	Neighbour                 // a neighbour entry came, went, or changed its state or MAC
	Policy                    // a routing rule or next-hop object: any flow may be concerned
)

func (k Kind) String() string {
	switch k {
	case Link:
		return "link"
	case Address:
		return "address"
	case Route:
		return "route"
	case Neighbour:
		return "neighbour"
	case Policy:
		return "policy"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Change is one thing of the kernel's that next hops are made of, and that is no
// longer as it was. It does not say how it is now: ask again.
type Change struct {
	Kind    Kind
	Ifindex int          // of Link, Address and Neighbour; 0 otherwise
	Prefix  netip.Prefix // the destinations of a Route; a single Address or Neighbour
}

// Batch is what has changed since the last one.
type Batch struct {
	// Resync: more changed than the kernel or this package could keep account
	// of. Everything may be different, and Changes may be incomplete.
	Resync  bool
	Changes []Change
}

// maxPending bounds the changes kept for a slow reader. Asking for everything
// again is cheaper than a longer list.
const maxPending = 1024

// Affects says whether the next hop from local to remote has to be asked for
// again. hop is what Resolve gave, also with [ErrUnresolved]; its zero value
// stands for a flow that had none.
func (b Batch) Affects(local, remote netip.Addr, hop NextHop) bool {
	if b.Resync {
		return true
	}
	local, remote = local.Unmap(), remote.Unmap()
	for _, c := range b.Changes {
		if c.affects(local, remote, hop) {
			return true
		}
	}
	return false
}

func (c Change) affects(local, remote netip.Addr, hop NextHop) bool {
	switch c.Kind {
	case Link:
		return hop.Ifindex == 0 || c.Ifindex == hop.Ifindex
	case Address:
		// An address brings or takes its subnet's route, which is told by itself.
		return hop.Ifindex == 0 || c.Prefix.Addr() == local || c.Prefix.Addr() == remote
	case Route:
		return c.Prefix.Contains(remote)
	case Neighbour:
		return c.Ifindex == hop.Ifindex && c.Prefix.Addr() == hop.Neighbour
	}
	return true
}

// Changes reports changes of links, addresses, routes and neighbours in the
// calling thread's network namespace until ctx ends; then, or when the kernel
// can't be listened to any more, the channel is closed. Changes that come while
// nobody reads are merged into one batch. When Changes returns, it listens
// already: what is asked for afterwards is either new or reported as changed.
//
// If the kernel had to discard notifications, a Resync follows once it has stopped
// doing so.
func Changes(ctx context.Context) (<-chan Batch, error) {
	l, err := listen(receiveBuffer)
	if err != nil {
		return nil, err
	}
	out := make(chan Batch)
	go l.run(ctx, out)
	return out, nil
}

// pending merges changes.
type pending struct {
	batch Batch
	seen  map[Change]struct{}
}

func (p *pending) empty() bool { return !p.batch.Resync && len(p.batch.Changes) == 0 }

func (p *pending) add(b Batch) {
	if b.Resync {
		p.batch = Batch{Resync: true}
		p.seen = nil
	}
	for _, c := range b.Changes {
		if _, again := p.seen[c]; again || p.batch.Resync {
			continue
		}
		if len(p.batch.Changes) == maxPending {
			p.add(Batch{Resync: true})
			return
		}
		if p.seen == nil {
			p.seen = map[Change]struct{}{}
		}
		p.seen[c] = struct{}{}
		p.batch.Changes = append(p.batch.Changes, c)
	}
}

func (p *pending) take() Batch {
	b := p.batch
	*p = pending{}
	return b
}

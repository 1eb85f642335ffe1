// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"maps"
	"net/netip"
	"slices"
	"sort"
	"time"
)

// viewIndex makes look-ups in a published View fast. A View that was built by
// hand has none and is searched from end to end.
type viewIndex struct {
	sorted bool                     // Channels stand in order of their numbers
	peers  map[netip.AddrPort]int32 // places in Channels
}

// snapshot is the allocation as a datapath sees it.
func (a *allocation) snapshot(guarded netip.Addr) *View {
	v := &View{
		ID: a.id, User: a.user, Tuple: a.tuple,
		Relayed: a.relayed, Public: a.public, Guarded: guarded,
		Created: a.created, Expires: a.expires,
		Permissions: maps.Clone(a.permissions),
	}
	v.Channels = make([]ChannelView, 0, len(a.channels))
	for number, ch := range a.channels {
		v.Channels = append(v.Channels, ChannelView{Number: number, Peer: ch.peer, Expires: ch.expires})
	}
	slices.SortFunc(v.Channels, func(x, y ChannelView) int { return int(x.Number) - int(y.Number) })
	v.index = viewIndex{sorted: true, peers: make(map[netip.AddrPort]int32, len(v.Channels))}
	for i := range v.Channels {
		v.index.peers[v.Channels[i].Peer] = int32(i)
	}
	return v
}

// ToPeer is where ChannelData with that number goes (RFC 8656 §12.6), or why it
// goes nowhere. A live channel is enough; a permission matters only to what
// peers send. Whether Guarded forbids the port is the caller's next question.
func (v *View) ToPeer(now time.Time, number uint16) (peer netip.AddrPort, drop Reason) {
	if !now.Before(v.Expires) {
		return netip.AddrPort{}, AllocationExpired
	}
	i := -1
	if v.index.sorted {
		at := sort.Search(len(v.Channels), func(i int) bool { return v.Channels[i].Number >= number })
		if at < len(v.Channels) && v.Channels[at].Number == number {
			i = at
		}
	} else {
		i = slices.IndexFunc(v.Channels, func(c ChannelView) bool { return c.Number == number })
	}
	if i < 0 {
		return netip.AddrPort{}, UnknownChannel
	}
	if !now.Before(v.Channels[i].Expires) {
		return netip.AddrPort{}, ChannelExpired
	}
	return v.Channels[i].Peer, None
}

// Permits is true while the allocation lives and has a permission for the peer:
// what it sends may go to the client, and Send indications may go to it. An
// IPv4-mapped IPv6 address is no IPv4 address here.
func (v *View) Permits(now time.Time, peer netip.Addr) bool {
	return v.Allows(now, peer) == None
}

// Allows is Permits with the reason for a drop.
func (v *View) Allows(now time.Time, peer netip.Addr) Reason {
	if !now.Before(v.Expires) {
		return AllocationExpired
	}
	if expires, ok := v.Permissions[peer]; !ok || !now.Before(expires) {
		return NoPermission
	}
	return None
}

// ChannelTo is the live channel of a peer; without one, what the peer sends
// goes to the client in Data indications.
func (v *View) ChannelTo(now time.Time, peer netip.AddrPort) (number uint16, ok bool) {
	i := -1
	if v.index.peers != nil {
		if at, found := v.index.peers[peer]; found {
			i = int(at)
		}
	} else {
		i = slices.IndexFunc(v.Channels, func(c ChannelView) bool { return c.Peer == peer })
	}
	if i < 0 || !now.Before(v.Channels[i].Expires) || !now.Before(v.Expires) {
		return 0, false
	}
	return v.Channels[i].Number, true
}

// OnlyRelayed is true for the address of which clients may reach only the
// relayed ports of live allocations. A datagram to any other port there is
// dropped as NotRelayed: it would reach the relay host's own services.
func (v *View) OnlyRelayed(peer netip.Addr) bool { return v.Guarded.IsValid() && v.Guarded == peer }

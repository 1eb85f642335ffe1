// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"plumbline/logs"
)

// timer is one moment at which something ends: the earliest of an allocation
// and all that it holds, or a reservation.
type timer struct {
	at          time.Time
	place       int // in the heap, counted from 1; 0 when it is not there
	allocation  *allocation
	reservation *reservation
}

// timers is a heap of them, the earliest first.
type timers []*timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push is for container/heap.
func (h *timers) Push(x any) {
	t := x.(*timer)
	t.place = len(*h) + 1
	*h = append(*h, t)
}

// Pop is for container/heap.
func (h *timers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.place = 0
	return t
}

func (h *timers) set(t *timer) {
	if t.place == 0 {
		heap.Push(h, t)
		return
	}
	heap.Fix(h, t.place-1)
}

func (h *timers) drop(t *timer) {
	if t.place != 0 {
		heap.Remove(h, t.place-1)
	}
}

// Tick ends what was due by now. Calling it late or too often does no harm:
// every call into the server does the same first.
func (s *Server) Tick(now time.Time) []Effect {
	s.expire(now)
	s.refused.tick(now, s.report)
	return s.take()
}

// Deadline is when Tick has something to do next; ok is false while nothing is
// waiting. It may change with every other call.
func (s *Server) Deadline() (at time.Time, ok bool) {
	at, ok = s.refused.deadline()
	if len(s.timers) > 0 && (!ok || s.timers[0].at.Before(at)) {
		at, ok = s.timers[0].at, true
	}
	return at, ok
}

// expire ends everything whose time has come. Something that expires at t lives
// while now is before t.
func (s *Server) expire(now time.Time) {
	for len(s.timers) > 0 && !s.timers[0].at.After(now) {
		t := s.timers[0]
		switch {
		case t.reservation != nil:
			s.dropReservation(t.reservation)
		case !t.allocation.expires.After(now):
			s.remove(now, t.allocation, "expired")
		default:
			s.expireWithin(now, t.allocation)
		}
	}
}

// expireWithin ends the permissions and channels of a living allocation. The
// events come in a fixed order, so that two runs of one history log the same.
func (s *Server) expireWithin(now time.Time, a *allocation) {
	var channels []uint16
	for number, ch := range a.channels {
		if !ch.expires.After(now) {
			channels = append(channels, number)
		}
	}
	slices.Sort(channels)
	var peers []netip.Addr
	for peer, expires := range a.permissions {
		if !expires.After(now) {
			peers = append(peers, peer)
		}
	}
	slices.SortFunc(peers, netip.Addr.Compare)

	var events []logs.Event
	for _, number := range channels {
		ch := s.unbind(a, number)
		events = append(events, logs.ChannelExpired{Allocation: a.id, Channel: logs.Channel(number),
			Peer: logs.Addr{AddrPort: ch.peer}, Expires: logs.Time{Time: ch.expires}})
	}
	for _, peer := range peers {
		events = append(events, logs.PermissionExpired{Allocation: a.id, Peer: peer.String(),
			Expires: logs.Time{Time: a.permissions[peer]}})
		delete(a.permissions, peer)
	}
	s.publish(a)
	for _, e := range events {
		s.report(e)
	}
}

// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

// allocation is RFC 8656 §3.2's data structure. Only the Server changes it;
// datapaths see the View.
type allocation struct {
	id      string
	number  uint64 // of the id
	user    string
	realm   string
	tuple   FiveTuple
	relayed netip.AddrPort
	public  netip.AddrPort
	created time.Time
	expires time.Time

	permissions map[netip.Addr]time.Time
	channels    map[uint16]*channel
	numbers     map[netip.AddrPort]uint16 // of channels, by peer

	// The Allocate that made it, for its retransmissions.
	transaction [stun.TransactionIDSize]byte
	response    []byte

	view  *View
	timer timer
}

type channel struct {
	peer    netip.AddrPort
	expires time.Time
}

// publish makes the allocation's state the one that packets are decided by,
// and moves its timer to what ends first.
func (s *Server) publish(a *allocation) {
	a.view = a.snapshot(s.guarded())
	a.timer.at = a.expires
	earlier := func(t time.Time) {
		if t.Before(a.timer.at) {
			a.timer.at = t
		}
	}
	for _, expires := range a.permissions {
		earlier(expires)
	}
	for _, ch := range a.channels {
		earlier(ch.expires)
	}
	s.timers.set(&a.timer)
	s.do(Publish{a.view})
}

// remove ends an allocation. Channels of others that lead to it stay: they are
// their clients' for as long as they live (RFC 8656 §12), and what comes for a
// port without an allocation is dropped by the datapath.
func (s *Server) remove(now time.Time, a *allocation, reason string) {
	delete(s.allocations, a.tuple)
	delete(s.byID, a.id)
	delete(s.byPublic, a.public)
	delete(s.byRelayed, a.relayed)
	s.timers.drop(&a.timer)
	for number := range a.channels {
		s.unbind(a, number)
	}
	s.do(Withdraw{ID: a.id, Event: logs.AllocationDeleted{
		Allocation: a.id,
		Client:     logs.Addr{AddrPort: a.tuple.Client},
		Relayed:    []logs.Addr{{AddrPort: a.public}},
		Reason:     reason,
		AgeS:       now.Sub(a.created).Seconds(),
	}})
	s.freeAddress(a.relayed, a.user)
	s.do(Release{a.relayed})
}

// unbind takes a channel out of every index.
func (s *Server) unbind(a *allocation, number uint16) *channel {
	ch := a.channels[number]
	delete(a.channels, number)
	delete(a.numbers, ch.peer)
	return ch
}

// owned finds the allocation that a Refresh, CreatePermission or ChannelBind is
// about, or answers why there is none (RFC 8656 §5: 437 without an allocation,
// 441 for another user's).
func (s *Server) owned(r *request) *allocation {
	a := s.allocations[r.tuple]
	if a == nil {
		if lifetime, asked, _ := uint32Attribute(r.msg, stun.AttrLifetime); r.method == stun.MethodRefresh && asked && lifetime == 0 {
			// The retransmission of a Refresh that deleted: no news.
			s.refuse(r, stun.CodeAllocMismatch)
			return nil
		}
		s.rejectAllocation(r, stun.CodeAllocMismatch, r.method.String()+" without an allocation")
		return nil
	}
	if a.user != r.user {
		s.refuse(r, stun.CodeWrongCredentials)
		s.rejectAuth(r, stun.CodeWrongCredentials, "the allocation "+a.id+" belongs to another user")
		return nil
	}
	return a
}

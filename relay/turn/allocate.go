// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

const protocolUDP = 17

// pending is an Allocate that waits for its socket.
type pending struct {
	request  request // without the message
	realm    string
	lifetime time.Duration
	want     pair
	partly   bool // IPv6 was asked for besides, and is not to be had

	relayed netip.AddrPort
	public  netip.Addr
	bound   bool // relayed is ours; only the one above it is missing
	tried   []uint16
}

// allocate checks an Allocate in the order of RFC 8656 §7.2.
func (s *Server) allocate(r *request) {
	if s.occupied(r) {
		return
	}
	transport, present, malformed := uint32Attribute(r.msg, stun.AttrRequestedTransport)
	switch {
	case !present || malformed:
		s.rejectAllocation(r, stun.CodeBadRequest, "REQUESTED-TRANSPORT is missing or malformed")
		return
	case transport>>24 != protocolUDP:
		s.rejectAllocation(r, stun.CodeUnsupportedTransProto, "only UDP is relayed")
		return
	}
	// The datapaths don't set DF yet; saying so lets the client do without.
	if r.msg.Contains(stun.AttrDontFragment) {
		s.rejectAllocation(r, stun.CodeUnknownAttribute, "DONT-FRAGMENT is not supported", stun.UnknownAttributes{stun.AttrDontFragment})
		return
	}
	p := &pending{request: *r, realm: s.cfg.Realm, public: s.cfg.PublicIPv4}
	p.request.msg = nil
	seconds, asked, malformed := uint32Attribute(r.msg, stun.AttrLifetime)
	if malformed {
		s.rejectAllocation(r, stun.CodeBadRequest, "LIFETIME is malformed")
		return
	}
	p.lifetime = s.cfg.lifetime(seconds, asked)

	if value, err := r.msg.Get(stun.AttrReservationToken); err == nil {
		s.allocateReserved(r, p, value)
		return
	}
	if !s.families(r, p) {
		return
	}
	room := 1
	if p.want == evenPair {
		room = 2
	}
	if s.cfg.PerUser > 0 && s.held[r.user]+room > s.cfg.PerUser {
		s.rejectAllocation(r, stun.CodeAllocQuotaReached, "the user holds as many relayed addresses as allowed")
		return
	}
	if s.cfg.Total > 0 && len(s.taken)+room > s.cfg.Total {
		s.rejectAllocation(r, stun.CodeAllocQuotaReached, "the relay holds as many relayed addresses as allowed")
		return
	}
	s.tryPort(p)
}

// occupied answers an Allocate from a client that has an allocation, or is
// about to get one: the same request gets the same answer, another one 437.
func (s *Server) occupied(r *request) bool {
	if a := s.allocations[r.tuple]; a != nil {
		if a.transaction == r.id && a.user == r.user {
			s.counters["success"]++
			s.do(Send{To: r.tuple, Payload: a.response})
			return true
		}
		s.rejectAllocation(r, stun.CodeAllocMismatch, "the client has the allocation "+a.id)
		return true
	}
	if p := s.pending[r.tuple]; p != nil {
		if p.request.id == r.id && p.request.user == r.user {
			s.counters["in_progress"]++ // its answer is on the way
			return true
		}
		s.rejectAllocation(r, stun.CodeAllocMismatch, "the client's allocation is being made")
		return true
	}
	return false
}

// allocateReserved claims the port that a token stands for. It is bound
// already and has its place in the quotas. A token is its user's alone: what a
// stranger overhears or guesses is worth nothing.
func (s *Server) allocateReserved(r *request, p *pending, value []byte) {
	m := r.msg
	if m.Contains(stun.AttrEvenPort) || m.Contains(stun.AttrRequestedAddressFamily) || m.Contains(attrAdditionalAddressFamily) {
		s.rejectAllocation(r, stun.CodeBadRequest, "RESERVATION-TOKEN with EVEN-PORT or an address family")
		return
	}
	var name token
	if len(value) != len(name) {
		s.rejectAllocation(r, stun.CodeBadRequest, "RESERVATION-TOKEN is malformed")
		return
	}
	copy(name[:], value)
	res := s.reservations[name]
	if res == nil || res.user != r.user {
		s.rejectAllocation(r, stun.CodeInsufficientCapacity, "RESERVATION-TOKEN is unknown or has expired")
		return
	}
	s.claim(res)
	p.relayed, p.public = res.relayed, res.public.Addr()
	s.create(r.now, p, nil)
}

// families settles address families and EVEN-PORT. IPv6 is not relayed yet.
func (s *Server) families(r *request, p *pending) bool {
	requested, hasRequested, bad := familyAttribute(r.msg, stun.AttrRequestedAddressFamily)
	additional, hasAdditional, badToo := familyAttribute(r.msg, attrAdditionalAddressFamily)
	even, evenErr := r.msg.Get(stun.AttrEvenPort)
	switch {
	case bad || badToo:
		s.rejectAllocation(r, stun.CodeBadRequest, "an address family attribute is malformed")
		return false
	case hasRequested && hasAdditional:
		s.rejectAllocation(r, stun.CodeBadRequest, "REQUESTED-ADDRESS-FAMILY with ADDITIONAL-ADDRESS-FAMILY")
		return false
	case hasRequested && requested != familyIPv4:
		s.rejectAllocation(r, stun.CodeAddrFamilyNotSupported, "only IPv4 is relayed")
		return false
	case !s.cfg.RelayIPv4.IsValid():
		s.rejectAllocation(r, stun.CodeAddrFamilyNotSupported, "the relay has no IPv4 address")
		return false
	case evenErr == nil && len(even) != 1:
		s.rejectAllocation(r, stun.CodeBadRequest, "EVEN-PORT is malformed")
		return false
	}
	if evenErr == nil {
		p.want = evenPort
		if even[0]&0x80 != 0 {
			p.want = evenPair
		}
	}
	if hasAdditional {
		switch {
		case p.want == evenPair:
			s.rejectAllocation(r, stun.CodeBadRequest, "EVEN-PORT with reservation and ADDITIONAL-ADDRESS-FAMILY")
			return false
		case additional != familyIPv6:
			s.rejectAllocation(r, stun.CodeBadRequest, "ADDITIONAL-ADDRESS-FAMILY other than IPv6")
			return false
		}
		p.partly = true
	}
	return true
}

func familyAttribute(m *stun.Message, t stun.AttrType) (family byte, present, malformed bool) {
	value, present, malformed := uint32Attribute(m, t)
	return byte(value >> 24), present, malformed
}

// tryPort asks for a socket, or gives up.
func (s *Server) tryPort(p *pending) {
	relayed, ok := netip.AddrPort{}, false
	if len(p.tried) < bindAttempts {
		relayed, ok = s.choosePort(p.want, p.tried)
	}
	if !ok {
		delete(s.pending, p.request.tuple)
		s.rejectAllocation(&p.request, stun.CodeInsufficientCapacity, "no relayed port is free")
		return
	}
	p.relayed, p.bound = relayed, false
	s.pending[p.request.tuple] = p
	s.takeAddress(relayed, p.request.user)
	if p.want == evenPair {
		s.takeAddress(above(relayed), p.request.user)
	}
	s.bind(p, relayed)
}

func (s *Server) bind(p *pending, relayed netip.AddrPort) {
	s.binding[relayed] = p
	s.do(Bind{relayed})
}

// Bound is the executor's answer to a Bind: nil, or why there is no socket. One
// that nobody waits for any more is released.
func (s *Server) Bound(now time.Time, relayed netip.AddrPort, err error) []Effect {
	s.expire(now)
	p := s.binding[relayed]
	delete(s.binding, relayed)
	switch {
	case p == nil && err == nil:
		s.do(Release{relayed})
	case p == nil:
	case err != nil:
		s.counters["bind_failed"]++
		s.unwind(p)
		p.request.now = now
		p.tried = append(p.tried, p.relayed.Port())
		s.tryPort(p)
	case p.want == evenPair && !p.bound:
		p.bound = true
		s.bind(p, above(p.relayed))
	default:
		p.request.now = now
		delete(s.pending, p.request.tuple)
		var reserved []stun.Setter
		if p.want == evenPair {
			odd := above(p.relayed)
			name := s.reserve(now, p.request.user, odd, netip.AddrPortFrom(p.public, odd.Port()))
			reserved = []stun.Setter{attribute(stun.AttrReservationToken, name[:]...)}
		}
		s.create(now, p, reserved)
	}
	return s.take()
}

// unwind gives back what a pending Allocate has taken so far.
func (s *Server) unwind(p *pending) {
	if p.bound {
		s.do(Release{p.relayed})
	}
	s.freeAddress(p.relayed, p.request.user)
	if p.want == evenPair {
		s.freeAddress(above(p.relayed), p.request.user)
	}
}

// abandon forgets a pending Allocate; the answer to its Bind is released.
func (s *Server) abandon(p *pending) {
	delete(s.pending, p.request.tuple)
	if p.bound {
		delete(s.binding, above(p.relayed))
	} else {
		delete(s.binding, p.relayed)
	}
	s.unwind(p)
}

// create makes the allocation and answers. What the datapaths need is in force
// before the client can know of it.
func (s *Server) create(now time.Time, p *pending, attributes []stun.Setter) {
	id, number := s.newID()
	a := &allocation{
		id: id, number: number, user: p.request.user, realm: p.realm,
		tuple: p.request.tuple, relayed: p.relayed, public: netip.AddrPortFrom(p.public, p.relayed.Port()),
		created: now, expires: now.Add(p.lifetime),
		permissions: map[netip.Addr]time.Time{},
		channels:    map[uint16]*channel{},
		numbers:     map[netip.AddrPort]uint16{},
		transaction: p.request.id,
	}
	a.timer.allocation = a
	s.allocations[a.tuple] = a
	s.byID[a.id] = a
	s.byPublic[a.public] = a
	s.byRelayed[a.relayed] = a
	s.publish(a)
	s.report(logs.AllocationCreated{
		Allocation: a.id,
		Client:     logs.Addr{AddrPort: a.tuple.Client},
		Transport:  "udp",
		User:       a.user,
		Relayed:    []logs.Addr{{AddrPort: a.public}},
		LifetimeS:  int64(p.lifetime / time.Second),
		Expires:    logs.Time{Time: a.expires},
	})
	if p.partly {
		phrase := reasons[stun.CodeAddrFamilyNotSupported]
		attributes = append(attributes, attribute(attrAddressErrorCode, append([]byte{familyIPv6, 0, 4, 40}, phrase...)...))
	}
	attributes = append([]stun.Setter{
		xorAddress{stun.AttrXORRelayedAddress, a.public},
		lifetimeAttribute(p.lifetime),
		mapped(&p.request),
	}, attributes...)
	a.response = s.succeed(&p.request, attributes...)
}

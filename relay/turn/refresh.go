// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

// refresh gives an allocation a new lifetime, or ends it (RFC 8656 §8.2). One
// that is retransmitted after it ended the allocation gets 437, which clients
// take for success.
func (s *Server) refresh(r *request) {
	a := s.owned(r)
	if a == nil {
		return
	}
	family, present, malformed := familyAttribute(r.msg, stun.AttrRequestedAddressFamily)
	seconds, asked, alsoMalformed := uint32Attribute(r.msg, stun.AttrLifetime)
	switch {
	case malformed || alsoMalformed:
		s.rejectAllocation(r, stun.CodeBadRequest, "REQUESTED-ADDRESS-FAMILY or LIFETIME is malformed")
		return
	case present && family != familyIPv4:
		s.rejectAllocation(r, stun.CodePeerAddrFamilyMismatch, "the allocation "+a.id+" has no address of that family")
		return
	case asked && seconds == 0:
		s.remove(r.now, a, "refreshed_to_zero")
		s.succeed(r, lifetimeAttribute(0))
		return
	}
	lifetime := s.cfg.lifetime(seconds, asked)
	a.expires = r.now.Add(lifetime)
	s.publish(a)
	s.report(logs.AllocationRefreshed{Allocation: a.id, LifetimeS: int64(lifetime / time.Second), Expires: logs.Time{Time: a.expires}})
	s.succeed(r, lifetimeAttribute(lifetime))
}

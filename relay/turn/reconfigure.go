// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

// Reconfigure puts another config in force. Allocations stay as they were
// granted: realm, lifetime, addresses. What their clients ask for from here on
// is judged by the new config, and peers that it refuses are cut off at once: a
// rule that an operator adds to end something must not wait for expiries.
func (s *Server) Reconfigure(now time.Time, cfg Config) []Effect {
	s.expire(now)
	s.cfg = cfg.normalized()
	for _, a := range s.inOrder() {
		s.revoke(now, a)
	}
	return s.take()
}

// revoke takes from an allocation what the policy no longer allows. The log
// names the rule, and then says that permission and channels have ended.
func (s *Server) revoke(now time.Time, a *allocation) {
	var channels []uint16
	for number, ch := range a.channels {
		if _, ok := s.mayBind(ch.peer); !ok {
			channels = append(channels, number)
		}
	}
	slices.Sort(channels)
	var peers []netip.Addr
	for peer := range a.permissions {
		if _, ok := s.mayReach(peer); !ok {
			peers = append(peers, peer)
		}
	}
	slices.SortFunc(peers, netip.Addr.Compare)
	if len(channels) == 0 && len(peers) == 0 && a.view.Guarded == s.guarded() {
		return
	}
	var ended []logs.Event
	for _, number := range channels {
		ch := s.unbind(a, number)
		ended = append(ended, logs.ChannelExpired{Allocation: a.id, Channel: logs.Channel(number),
			Peer: logs.Addr{AddrPort: ch.peer}, Expires: logs.Time{Time: now}})
	}
	for _, peer := range peers {
		delete(a.permissions, peer)
		ended = append(ended, logs.PermissionExpired{Allocation: a.id, Peer: peer.String(), Expires: logs.Time{Time: now}})
	}
	s.publish(a)
	for _, peer := range peers {
		rule, _ := s.mayReach(peer)
		s.denyPeer(now, a, netip.AddrPortFrom(peer, 0), stun.CodeForbidden, rule)
	}
	for _, e := range ended {
		s.report(e)
	}
}

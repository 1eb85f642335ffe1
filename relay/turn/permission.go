// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

const otherFamily = "the peer is not of the relayed address's family"

// createPermission installs or refreshes permissions for all peers of the
// request, or for none (RFC 8656 §10.2).
func (s *Server) createPermission(r *request) {
	a := s.owned(r)
	if a == nil {
		return
	}
	peers, code, why := s.peers(r, a)
	switch {
	case code == stun.CodeBadRequest:
		s.rejectAllocation(r, code, why)
		return
	case code != 0:
		s.refuse(r, code) // every refused peer is logged already
		return
	}
	fresh := 0
	for _, peer := range peers {
		if _, exists := a.permissions[peer]; !exists {
			fresh++
		}
	}
	if len(a.permissions)+fresh > maxPermissions {
		s.refuse(r, stun.CodeInsufficientCapacity)
		s.denyPeer(r.now, a, netip.AddrPortFrom(peers[0], 0), stun.CodeInsufficientCapacity, "the allocation holds as many permissions as allowed")
		return
	}
	events := make([]logs.Event, len(peers))
	for i, peer := range peers {
		events[i] = a.permit(r, peer)
	}
	s.publish(a)
	for _, e := range events {
		s.report(e)
	}
	s.succeed(r)
}

// peers are the addresses of a CreatePermission, each once. Ports don't matter
// there. The code is 0 when all of them may be reached.
func (s *Server) peers(r *request, a *allocation) (peers []netip.Addr, code stun.ErrorCode, why string) {
	seen := map[netip.Addr]bool{}
	for _, attr := range r.msg.Attributes {
		if attr.Type != stun.AttrXORPeerAddress {
			continue
		}
		peer, ok := xorPeer(attr.Value, &r.id)
		if !ok {
			return nil, stun.CodeBadRequest, "XOR-PEER-ADDRESS is malformed"
		}
		if !peer.Addr().Is4() {
			s.denyPeer(r.now, a, peer, stun.CodePeerAddrFamilyMismatch, otherFamily)
			return nil, stun.CodePeerAddrFamilyMismatch, otherFamily
		}
		if !seen[peer.Addr()] {
			seen[peer.Addr()] = true
			peers = append(peers, peer.Addr())
		}
	}
	if len(peers) == 0 {
		return nil, stun.CodeBadRequest, "XOR-PEER-ADDRESS is missing"
	}
	for _, peer := range peers {
		if rule, ok := s.mayReach(peer); !ok {
			s.denyPeer(r.now, a, netip.AddrPortFrom(peer, 0), stun.CodeForbidden, rule)
			code = stun.CodeForbidden
		}
	}
	return peers, code, why
}

// permit installs or refreshes one permission.
func (a *allocation) permit(r *request, peer netip.Addr) logs.Event {
	_, exists := a.permissions[peer]
	expires := r.now.Add(PermissionLifetime)
	a.permissions[peer] = expires
	if exists {
		return logs.PermissionRefreshed{Allocation: a.id, Peer: peer.String(), Expires: logs.Time{Time: expires}}
	}
	return logs.PermissionCreated{Allocation: a.id, Peer: peer.String(), Expires: logs.Time{Time: expires}}
}

// mayReach applies the policy, and the hairpin rule: a client may name our own
// public relayed address, because its peer may be another client of this relay.
// Which ports there are open is decided for every datagram and ChannelBind; see
// View.Guarded.
func (s *Server) mayReach(peer netip.Addr) (rule string, ok bool) {
	if peer == s.cfg.PublicIPv4 {
		return s.cfg.Policy.hairpin(peer)
	}
	return s.cfg.Policy.check(peer, s.cfg.OwnAddresses)
}

// mayBind is mayReach for a channel, whose port is known: at our own public
// address it must be the port of a live allocation.
func (s *Server) mayBind(peer netip.AddrPort) (rule string, ok bool) {
	if rule, ok = s.mayReach(peer.Addr()); !ok {
		return rule, false
	}
	if peer.Addr() == s.guarded() && s.byPublic[peer] == nil {
		return "no allocation lives on that port of the relay", false
	}
	return "", true
}

// guarded is our public relayed address, unless the config opens all of it.
func (s *Server) guarded() netip.Addr {
	public := s.cfg.PublicIPv4
	if s.cfg.Policy.opens(public) {
		return netip.Addr{}
	}
	return public
}

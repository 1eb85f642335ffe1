// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"github.com/pion/stun/v3"

	"plumbline/logs"
)

// channelBind binds a channel or refreshes it, and with it the permission for
// its peer (RFC 8656 §12.2). A number and a peer belong to each other alone.
// How long a client must wait before it uses either otherwise is the client's
// duty: once the channel has expired, both are free here.
func (s *Server) channelBind(r *request) {
	a := s.owned(r)
	if a == nil {
		return
	}
	value, present, malformed := uint32Attribute(r.msg, stun.AttrChannelNumber)
	number := uint16(value >> 16) // the rest is reserved
	raw, err := r.msg.Get(stun.AttrXORPeerAddress)
	peer, ok := xorPeer(raw, &r.id)
	reject := func(code stun.ErrorCode, reason string) { s.rejectChannel(r, a, number, peer, code, reason) }
	switch {
	case !present || malformed:
		number = 0
		reject(stun.CodeBadRequest, "CHANNEL-NUMBER is missing or malformed")
		return
	case err != nil || !ok:
		reject(stun.CodeBadRequest, "XOR-PEER-ADDRESS is missing or malformed")
		return
	case number < LowestChannel || number > HighestChannel:
		reject(stun.CodeBadRequest, "the number is no channel's")
		return
	}
	ch, exists := a.channels[number]
	if exists && ch.peer != peer {
		reject(stun.CodeBadRequest, "the channel is bound to "+ch.peer.String())
		return
	}
	if other, bound := a.numbers[peer]; bound && other != number {
		reject(stun.CodeBadRequest, "the peer is bound to channel "+logs.Channel(other).String())
		return
	}
	if !peer.Addr().Is4() {
		reject(stun.CodePeerAddrFamilyMismatch, otherFamily)
		return
	}
	if peer.Port() == 0 {
		reject(stun.CodeBadRequest, "nothing can be sent to port 0")
		return
	}
	if rule, ok := s.mayBind(peer); !ok {
		reject(stun.CodeForbidden, rule)
		return
	}
	_, permitted := a.permissions[peer.Addr()]
	if !exists && len(a.channels) >= maxChannels || !permitted && len(a.permissions) >= maxPermissions {
		reject(stun.CodeInsufficientCapacity, "the allocation holds as many channels or permissions as allowed")
		return
	}

	permission := a.permit(r, peer.Addr())
	expires := logs.Time{Time: r.now.Add(ChannelLifetime)}
	var event logs.Event
	if exists {
		ch.expires = expires.Time
		event = logs.ChannelRefreshed{Allocation: a.id, Channel: logs.Channel(number), Peer: logs.Addr{AddrPort: peer}, Expires: expires}
	} else {
		a.channels[number] = &channel{peer: peer, expires: expires.Time}
		a.numbers[peer] = number
		event = logs.ChannelBound{Allocation: a.id, Channel: logs.Channel(number), Peer: logs.Addr{AddrPort: peer}, Expires: expires}
	}
	s.publish(a)
	s.report(permission)
	s.report(event)
	s.succeed(r)
}

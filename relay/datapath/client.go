// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"time"

	"plumbline/relay/turn"
)

// fromClient decides a datagram of n bytes that came to a listen socket.
func (d *Datapath) fromClient(s *socket, w *worker, n int) outcome {
	datagram := w.in[:n]
	source := w.rx.from()
	if r, ok := plausible(source, w.rx.truncated()); !ok {
		return outcome{reason: r, bytes: n}
	}
	tuple := turn.FiveTuple{Client: source, Server: s.local}
	if s.wildcard {
		addr, unicast, ok := w.rx.destination()
		if !ok || !unicast {
			return outcome{reason: destinationNotUnicast, bytes: n}
		}
		tuple.Server = netip.AddrPortFrom(addr, s.local.Port())
	}
	switch {
	case isChannelData(datagram):
		number, payload, ok := parseChannelData(datagram)
		if !ok {
			return outcome{reason: badLength, bytes: n}
		}
		return d.toPeer(w, tuple, number, netip.AddrPort{}, payload)
	case !isSTUN(datagram):
		return outcome{reason: notTURN, bytes: n}
	case isSend(datagram):
		peer, payload, ok := parseSend(datagram)
		if !ok {
			return outcome{reason: malformed, bytes: n}
		}
		return d.toPeer(w, tuple, 0, unmap(peer), payload)
	}
	return outcome{reason: d.toCore(tuple, datagram), bytes: n}
}

// toCore hands a control message up in a buffer of its own.
func (d *Datapath) toCore(tuple turn.FiveTuple, datagram []byte) reason {
	if len(datagram) > maxControl {
		return malformed
	}
	m := d.messages.Get().(*message)
	if !d.options.Control(tuple, m.bytes[:copy(m.bytes[:], datagram)], m.release) {
		m.release()
		return controlQueueFull
	}
	return control
}

// toPeer relays a client's payload: by its channel, or to peer where channel is
// 0.
func (d *Datapath) toPeer(w *worker, tuple turn.FiveTuple, channel uint16, peer netip.AddrPort, payload []byte) outcome {
	a := d.byTuple.get(tuple)
	if a == nil {
		return outcome{reason: noAllocation, bytes: len(payload)}
	}
	l := &a.toPeer
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return outcome{reason: noAllocation, bytes: len(payload)}
	}
	now := d.options.Now()
	view := a.current.Load()
	key := flowKey{channel: channel, peer: peer}
	key.peer, key.reason = view.admitToPeer(channel, peer, now)
	if key.reason.verdict() == Relay {
		key.reason = d.sendToPeer(w, view, key.peer, payload, key.reason, now)
	}
	l.book(key, len(payload), now)
	return outcome{reason: key.reason, owned: true}
}

// admitToPeer decides where a client's payload goes. A channel needs no
// permission towards its peer (RFC 8656 §12.5): the expiries are those that the
// kernel's route to the peer has.
func (s *snapshot) admitToPeer(channel uint16, peer netip.AddrPort, now time.Time) (netip.AddrPort, reason) {
	if s.expired(now) {
		return peer, allocationExpired
	}
	if channel == 0 {
		return peer, s.permits(peer.Addr(), viaIndication, now)
	}
	c := s.byNumber[channel]
	switch {
	case c == nil:
		return peer, noChannel
	case !now.Before(c.Expires):
		return unmap(c.Peer), channelExpired
	}
	return unmap(c.Peer), viaChannel
}

// permits is granted when there is a live permission for a peer's IP address
// (RFC 8656 §9), else the reason that there is not.
func (s *snapshot) permits(peer netip.Addr, granted reason, now time.Time) reason {
	switch expires, ok := s.Permissions[peer]; {
	case !ok:
		return noPermission
	case !now.Before(expires):
		return permissionExpired
	}
	return granted
}

func (d *Datapath) sendToPeer(w *worker, view *snapshot, peer netip.AddrPort, payload []byte, sent reason, now time.Time) reason {
	if peer.Port() == 0 || !unicast(peer.Addr()) {
		return peerNotUnicast
	}
	wire, live := d.onWire(peer, now)
	if !live {
		return hairpinDeadPort
	}
	if view.peer == nil {
		return socketClosed
	}
	return sendReason(w.tx.send(view.peer.raw, wire, netip.Addr{}, payload), sent)
}

// plausible refuses datagrams that no honest sender's stack emits, and that
// could not be answered.
func plausible(source netip.AddrPort, truncated bool) (reason, bool) {
	switch {
	case truncated:
		return tooLarge, false
	case source.Port() == 0:
		return sourcePortZero, false
	case !unicast(source.Addr()):
		return sourceNotUnicast, false
	}
	return 0, true
}

// unicast is false for multicast, limited broadcast and unspecified addresses,
// and for 0.0.0.0/8 ("this network", RFC 1122 §3.2.1.3).
func unicast(addr netip.Addr) bool {
	if addr.IsMulticast() || addr.IsUnspecified() {
		return false
	}
	if addr.Is4() {
		first := addr.As4()[0]
		return first != 0 && addr != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}
	return true
}

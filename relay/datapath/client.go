// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
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
	case turn.IsChannelData(datagram):
		number, payload, ok := turn.ParseChannelData(datagram)
		if !ok {
			return outcome{reason: reason(turn.Malformed), bytes: n}
		}
		return d.toPeer(w, tuple, number, netip.AddrPort{}, payload)
	case turn.IsSend(datagram):
		peer, payload, dontFragment, err := turn.ParseSend(datagram)
		if err != nil {
			return outcome{reason: dropReason(err), bytes: n}
		}
		if dontFragment { // Linux has no DF per datagram, only per socket
			return outcome{reason: reason(turn.DontFragment), bytes: n}
		}
		return d.toPeer(w, tuple, 0, peer, payload)
	case !looksLikeSTUN(datagram):
		return outcome{reason: notTURN, bytes: n}
	}
	return outcome{reason: d.toCore(tuple, datagram), bytes: n}
}

// looksLikeSTUN keeps what is surely no STUN (RFC 8489 §5) out of the core's
// queue.
func looksLikeSTUN(b []byte) bool {
	return len(b) >= 20 && b[0]>>6 == 0 && binary.BigEndian.Uint32(b[4:]) == 0x2112A442
}

func dropReason(err error) reason {
	if r, ok := err.(turn.Reason); ok {
		return reason(r)
	}
	return reason(turn.Malformed)
}

// toCore hands a control message up in a buffer of its own.
func (d *Datapath) toCore(tuple turn.FiveTuple, datagram []byte) reason {
	if len(datagram) > maxControl {
		return reason(turn.TooLarge)
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
		return outcome{reason: reason(turn.NoAllocation), bytes: len(payload)}
	}
	l := &a.toPeer
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return outcome{reason: reason(turn.NoAllocation), bytes: len(payload)}
	}
	now := d.options.Now()
	view := a.current.Load()
	key := flowKey{channel: channel, peer: peer}
	if channel != 0 {
		key.reason = viaChannel
		var drop turn.Reason
		// No permission is asked: a channel is enough towards its peer, as for
		// the kernel's route.
		if key.peer, drop = view.ToPeer(now, channel); drop != turn.None {
			key.reason = reason(drop)
		}
	} else {
		key.reason = viaIndication
		if drop := view.Allows(now, peer.Addr()); drop != turn.None {
			key.reason = reason(drop)
		}
	}
	if key.reason.verdict() == Relay {
		key.reason = d.sendToPeer(w, view, key.peer, payload, key.reason, now)
	}
	l.book(key, len(payload), now)
	return outcome{reason: key.reason, owned: true}
}

func (d *Datapath) sendToPeer(w *worker, view *snapshot, peer netip.AddrPort, payload []byte, sent reason, now time.Time) reason {
	if peer.Port() == 0 || !unicast(peer.Addr()) {
		return reason(turn.PeerInvalid)
	}
	wire, ok := d.onWire(view, peer, now)
	if !ok {
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
		return reason(turn.TooLarge), false
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

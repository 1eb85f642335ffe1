// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"time"
)

// fromPeer decides a datagram of n bytes that came to a relayed transport
// address.
func (d *Datapath) fromPeer(s *socket, w *worker, n int) outcome {
	source := w.rx.from()
	if r, ok := plausible(source, w.rx.truncated()); !ok {
		return outcome{reason: r, bytes: n}
	}
	a := d.byRelayed.get(s.local)
	if a == nil {
		return outcome{reason: noAllocation, bytes: n}
	}
	l := &a.toClient
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return outcome{reason: noAllocation, bytes: n}
	}
	now := d.options.Now()
	view := a.current.Load()
	key := d.toClient(w, view, source, w.in[:n], now)
	l.book(key, n, now)
	return outcome{reason: key.reason, owned: true}
}

// toClient relays a peer's payload in ChannelData if its transport address has a
// channel, else in a Data indication (RFC 8656 §11.3, §12.6). Either needs a
// permission for its IP address.
func (d *Datapath) toClient(w *worker, view *snapshot, source netip.AddrPort, payload []byte, now time.Time) flowKey {
	peer, live := d.asTold(source)
	key := flowKey{peer: peer}
	switch {
	case view.expired(now):
		key.reason = allocationExpired
		return key
	case !live:
		key.reason = hairpinDeadPort
		return key
	}
	if key.reason = view.permits(peer.Addr(), viaIndication, now); key.reason != viaIndication {
		return key
	}
	var datagram []byte
	if c := view.byPeer[peer]; c != nil && now.Before(c.Expires) {
		key.channel, key.reason = c.Number, viaChannel
		datagram = appendChannelData(w.out[:0], c.Number, payload)
	} else {
		datagram = appendDataIndication(w.out[:0], peer, payload)
	}
	if view.client == nil {
		key.reason = socketClosed
		return key
	}
	errno := w.tx.send(view.client.raw, view.Tuple.Client, view.client.source(view.Tuple.Server), datagram)
	key.reason = sendReason(errno, key.reason)
	return key
}

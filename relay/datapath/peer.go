// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"time"

	"plumbline/relay/turn"
)

// maxIndicated is the longest payload whose Data indication has a length that
// its header can say.
const maxIndicated = 65480

// fromPeer decides a datagram of n bytes that came to a relayed transport
// address.
func (d *Datapath) fromPeer(s *socket, w *worker, n int) outcome {
	source := w.rx.from()
	if r, ok := plausible(source, w.rx.truncated()); !ok {
		return outcome{reason: r, bytes: n}
	}
	a := d.byRelayed.get(s.local)
	if a == nil {
		return outcome{reason: reason(turn.NoAllocation), bytes: n}
	}
	l := &a.toClient
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return outcome{reason: reason(turn.NoAllocation), bytes: n}
	}
	now := d.options.Now()
	key := d.toClient(w, a.current.Load(), source, w.in[:n], now)
	l.book(key, n, now)
	return outcome{reason: key.reason, owned: true}
}

// toClient relays a peer's payload in ChannelData if its transport address has a
// channel, else in a Data indication (RFC 8656 §11.3, §12.7). Either needs a
// permission for its IP address.
func (d *Datapath) toClient(w *worker, view *snapshot, source netip.AddrPort, payload []byte, now time.Time) flowKey {
	peer, ok := d.asTold(view, source)
	key := flowKey{peer: peer, reason: viaIndication}
	if drop := view.Allows(now, peer.Addr()); drop != turn.None {
		key.reason = reason(drop)
		return key
	}
	if !ok {
		key.reason = hairpinDeadPort
		return key
	}
	datagram := w.out[:0]
	if number, bound := view.ChannelTo(now, peer); bound {
		key.channel, key.reason = number, viaChannel
		datagram = turn.AppendChannelData(datagram, number, payload)
	} else if len(payload) > maxIndicated {
		key.reason = reason(turn.TooLarge)
		return key
	} else {
		datagram = turn.AppendDataIndication(datagram, peer, payload, w.random)
	}
	if view.client == nil {
		key.reason = socketClosed
		return key
	}
	errno := w.tx.send(view.client.raw, view.Tuple.Client, view.client.source(view.Tuple.Server), datagram)
	key.reason = sendReason(errno, key.reason)
	return key
}

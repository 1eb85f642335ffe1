// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"sync"
	"time"

	"plumbline/logs"
)

// Bounds of one direction of an allocation. Dropped flows are bounded apart
// from relayed ones: their peers may be anybody's invention.
const (
	maxRelayedFlows = 96
	maxDroppedFlows = 32
	// flowIdle is how long a flow without a packet keeps its entry.
	flowIdle = 5 * time.Minute
)

type flowKey struct {
	channel uint16
	peer    netip.AddrPort
	reason  reason
}

type tally struct {
	logs.Traffic
	last time.Time
}

// A ledger is the account of one direction of one allocation. Its lock is held
// from the decision about a packet until the packet is sent and booked, so what
// close returns is exact: a packet is either in it, or was never sent. One
// goroutine takes the lock for packets (a client's datagrams come from one
// socket, a peer's from another), so nobody waits but for a reader of sums.
type ledger struct {
	mu      sync.Mutex
	closed  bool
	flows   map[flowKey]*tally
	kept    [2]int // entries of flows by relayed (0), dropped (1)
	other   [reasons]tally
	relayed logs.Traffic
}

// book counts one packet. The caller holds the lock.
func (l *ledger) book(key flowKey, bytes int, now time.Time) {
	t := l.flows[key]
	if t == nil {
		t = l.open(key)
	}
	t.Packets++
	t.Bytes += uint64(bytes)
	t.last = now
	if key.reason == viaChannel || key.reason == viaIndication {
		l.relayed.Packets++
		l.relayed.Bytes += uint64(bytes)
	}
}

// open finds the entry of a flow that has none: a new one, or the common entry
// of those beyond the bound.
func (l *ledger) open(key flowKey) *tally {
	class, limit := 0, maxRelayedFlows
	if key.reason.verdict() == Drop {
		class, limit = 1, maxDroppedFlows
	}
	if l.kept[class] >= limit {
		return &l.other[key.reason]
	}
	if l.flows == nil {
		l.flows = make(map[flowKey]*tally)
	}
	t := &tally{}
	l.flows[key] = t
	l.kept[class]++
	return t
}

// close ends the account and returns what was relayed in all. Packets that come
// later find it closed and are nobody's.
func (l *ledger) close() logs.Traffic {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.relayed
}

// read appends the account's flows to stats. Flows that were idle too long are
// taken out after this last time.
func (l *ledger) read(stats []FlowStat, whole FlowStat, now time.Time) []FlowStat {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, t := range l.flows {
		s := whole
		s.Channel, s.Peer = key.channel, key.peer
		s.Ended = l.closed || now.Sub(t.last) >= flowIdle
		stats = append(stats, s.with(key.reason, t.Traffic))
		if s.Ended && !l.closed {
			delete(l.flows, key)
			if s.Verdict = key.reason.verdict(); s.Verdict == Drop {
				l.kept[1]--
			} else {
				l.kept[0]--
			}
		}
	}
	for r := range reasons {
		if l.other[r].Packets > 0 {
			s := whole
			s.Ended = l.closed
			stats = append(stats, s.with(r, l.other[r].Traffic))
		}
	}
	return stats
}

// FlowStat is what one flow's packets in one direction met with one reason,
// since the flow began.
type FlowStat struct {
	Allocation string         // "": nobody's
	Client     netip.AddrPort // zero when nobody's
	Relayed    netip.AddrPort // local relayed transport address
	Channel    uint16         // 0: indications
	// Peer as the client knows it. Zero where the entry sums up several
	// flows, those beyond an allocation's bound.
	Peer      netip.AddrPort
	Direction string // ToPeer, ToClient, None
	Verdict   string // Relay, Pass, Drop
	Reason    string
	Packets   uint64
	Bytes     uint64 // UDP payload as the client or peer counts it
	// Ended says that these numbers are final: a packet of the same key that
	// comes later begins a new entry at zero.
	Ended bool
}

func (s FlowStat) with(r reason, t logs.Traffic) FlowStat {
	s.Verdict, s.Reason = r.verdict(), r.String()
	s.Packets, s.Bytes = t.Packets, t.Bytes
	return s
}

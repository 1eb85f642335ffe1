// SPDX-License-Identifier: Apache-2.0

package datapath

import "plumbline/logs"

// maxEnded bounds the flows that ended between two visits; more are summed up.
const maxEnded = 1 << 16

type sumKey struct {
	direction string
	reason    string
	verdict   string
}

// Flows calls visit with the cumulative numbers of every flow, of flows that
// ended since the last call (once), and of what no allocation owns. At rest,
// their packets by reason equal those of Counters. visit may call any method.
func (d *Datapath) Flows(visit func(FlowStat)) {
	d.mu.Lock()
	stats := d.ended
	d.ended = nil
	for _, a := range d.live {
		stats = d.readLedgers(a, stats)
	}
	for key, sum := range d.endedSum {
		stats = append(stats, FlowStat{Direction: key.direction, Verdict: key.verdict, Reason: key.reason,
			Packets: sum.Packets, Bytes: sum.Bytes})
	}
	sums := d.accounts()
	d.mu.Unlock()

	for r := range reasons {
		if sums.unowned[r].Packets > 0 {
			stats = append(stats, FlowStat{Direction: None}.with(r, sums.unowned[r]))
		}
	}
	for _, s := range stats {
		visit(s)
	}
}

// Counters sums up all sockets, closed ones too, since New. Received is
// Relayed + Passed + Dropped in every reading; a datagram that is being decided
// is not received yet.
func (d *Datapath) Counters() logs.UserspaceCounters {
	d.mu.Lock()
	sums := d.accounts()
	d.mu.Unlock()
	c := logs.UserspaceCounters{
		Counters:   logs.Counters{Received: sums.received, Reasons: make(map[string]uint64)},
		Overflowed: sums.overflowed,
	}
	for r := range reasons {
		n := sums.by[r]
		if n == 0 {
			continue
		}
		c.Reasons[r.String()] = n
		switch r.verdict() {
		case Relay:
			c.Relayed += n
		case Pass:
			c.Passed += n
		default:
			c.Dropped += n
		}
	}
	return c
}

// accounts adds up all sockets. The caller holds d.mu.
func (d *Datapath) accounts() account {
	sums := d.retired
	for s := range d.open {
		sums.add(s.read())
	}
	return sums
}

func (d *Datapath) readLedgers(a *allocation, stats []FlowStat) []FlowStat {
	view := a.current.Load().View
	now := d.options.Now()
	whole := FlowStat{Allocation: a.id, Client: view.Tuple.Client, Relayed: view.Relayed}
	whole.Direction = ToPeer
	stats = a.toPeer.read(stats, whole, now)
	whole.Direction = ToClient
	return a.toClient.read(stats, whole, now)
}

// keepEnded stores the flows of a closed allocation for the next visit. If
// nobody visits, those beyond the bound lose their names but not their numbers.
// The caller holds d.mu.
func (d *Datapath) keepEnded(a *allocation) {
	if len(d.ended) < maxEnded {
		d.ended = d.readLedgers(a, d.ended)
		return
	}
	for _, s := range d.readLedgers(a, nil) {
		key := sumKey{s.Direction, s.Reason, s.Verdict}
		d.endedSum[key] = d.endedSum[key].Add(logs.Traffic{Packets: s.Packets, Bytes: s.Bytes})
	}
}

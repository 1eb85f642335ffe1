// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"strings"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

// Refusals are the only events that a stranger can cause, so their number must
// not follow the number of packets. The first of its sort is logged at once,
// repeats within the window are counted into one line, and all memory is fixed.
const (
	refusalWindow = 10 * time.Second
	refusalSorts  = 64 // different ones that are counted apart
	linesASecond  = 10 // of each kind of event
)

// refusalKind is one event of the catalogue.
type refusalKind int

const (
	refusedAuth refusalKind = iota
	refusedAllocation
	refusedPermission
	refusedChannel
	refusalKinds
)

// refusalSort is what makes two refusals the same line. What an allocation may
// not do is told apart by allocation, what a stranger may not do by prefix.
type refusalSort struct {
	from       netip.Prefix
	allocation string
	code       stun.ErrorCode
}

// refusal is the latest of its sort; others are counted with it.
type refusal struct {
	client     netip.AddrPort
	user       string
	code       stun.ErrorCode
	reason     string
	allocation string
	channel    uint16
	peer       netip.AddrPort
}

type tally struct {
	sort   refusalSort
	last   refusal
	since  time.Time
	count  uint64 // not yet logged
	others bool   // stands for all sorts that found no room
}

type refusals struct {
	tallies [refusalKinds][]tally
	lines   [refusalKinds]bucket
}

// add logs a refusal or counts it.
func (q *refusals) add(now time.Time, kind refusalKind, r refusal, report func(logs.Event)) {
	sort := refusalSort{allocation: r.allocation, code: r.code}
	if r.allocation == "" {
		sort.from = sourcePrefix(r.client.Addr())
	}
	list := q.tallies[kind]
	var t *tally
	for i := range list {
		if list[i].sort == sort && !list[i].others {
			t = &list[i]
			break
		}
	}
	if t == nil && len(list) < refusalSorts {
		q.tallies[kind] = append(list, tally{sort: sort, last: r, since: now})
		t = &q.tallies[kind][len(list)]
		if q.lines[kind].take(now, linesASecond, linesASecond) {
			report(r.event(kind, 1, 0))
			return
		}
	}
	if t == nil {
		// The table is full: the last place counts everything else.
		t = &q.tallies[kind][refusalSorts-1]
		t.others = true
	}
	t.last = r
	t.count++
}

// tick logs what was counted in windows that are over.
func (q *refusals) tick(now time.Time, report func(logs.Event)) {
	for kind := range q.tallies {
		kept := q.tallies[kind][:0]
		for _, t := range q.tallies[kind] {
			if now.Sub(t.since) >= refusalWindow {
				if t.count == 0 {
					continue // quiet for a whole window
				}
				if q.lines[kind].take(now, linesASecond, linesASecond) {
					report(t.event(refusalKind(kind), now))
					t.count, t.since, t.others = 0, now, false
				}
			}
			kept = append(kept, t)
		}
		clear(q.tallies[kind][len(kept):]) // let go of the strings
		q.tallies[kind] = kept
	}
}

// flush logs all that was counted, at the end of the run.
func (q *refusals) flush(now time.Time, report func(logs.Event)) {
	for kind := range q.tallies {
		for _, t := range q.tallies[kind] {
			if t.count > 0 {
				report(t.event(refusalKind(kind), now))
			}
		}
		q.tallies[kind] = nil
	}
}

// deadline is when tick has something to do.
func (q *refusals) deadline() (at time.Time, ok bool) {
	for kind := range q.tallies {
		for _, t := range q.tallies[kind] {
			due := t.since.Add(refusalWindow)
			if t.count > 0 && q.lines[kind].tokens < 1 {
				// Due already, perhaps, but no line may be written yet.
				if refilled := time.Unix(0, q.lines[kind].filled).Add(time.Second / linesASecond); refilled.After(due) {
					due = refilled
				}
			}
			if !ok || due.Before(at) {
				at, ok = due, true
			}
		}
	}
	return at, ok
}

func (t *tally) event(kind refusalKind, now time.Time) logs.Event {
	r := t.last
	if t.others {
		r.reason += " (and others)"
	}
	return r.event(kind, t.count, now.Sub(t.since).Seconds())
}

func (r *refusal) event(kind refusalKind, count uint64, window float64) logs.Event {
	client, peer := logs.Addr{AddrPort: r.client}, logs.Addr{AddrPort: r.peer}
	switch kind {
	case refusedAuth:
		return logs.AuthRejected{Client: client, User: r.user, Code: int(r.code), Reason: r.reason, Count: count, WindowS: window}
	case refusedAllocation:
		return logs.AllocationRejected{Client: client, User: r.user, Code: int(r.code), Reason: r.reason, Count: count, WindowS: window}
	case refusedPermission:
		return logs.PermissionDenied{Allocation: r.allocation, Peer: r.peer.Addr().String(), Rule: r.reason, Code: int(r.code), Count: count, WindowS: window}
	}
	return logs.ChannelRejected{Allocation: r.allocation, Channel: logs.Channel(r.channel), Peer: peer, Code: int(r.code), Reason: r.reason, Count: count, WindowS: window}
}

// printable is a user name as a log line may carry it: anybody may send any
// bytes as one.
func printable(user string) string {
	const most = 128
	if len(user) > most {
		user = user[:most] + "…"
	}
	return strings.ToValidUTF8(user, "\uFFFD")
}

func (s *Server) rejectAuth(r *request, code stun.ErrorCode, reason string) {
	s.refused.add(r.now, refusedAuth, refusal{client: r.tuple.Client, user: printable(r.user), code: code, reason: reason}, s.report)
}

// rejectAllocation refuses a request and says why in the log.
func (s *Server) rejectAllocation(r *request, code stun.ErrorCode, reason string, attributes ...stun.Setter) {
	s.refuse(r, code, attributes...)
	s.refused.add(r.now, refusedAllocation, refusal{client: r.tuple.Client, user: printable(r.user), code: code, reason: reason}, s.report)
}

func (s *Server) denyPeer(now time.Time, a *allocation, peer netip.AddrPort, code stun.ErrorCode, rule string) {
	s.refused.add(now, refusedPermission, refusal{allocation: a.id, peer: peer, code: code, reason: rule}, s.report)
}

func (s *Server) rejectChannel(r *request, a *allocation, number uint16, peer netip.AddrPort, code stun.ErrorCode, reason string) {
	s.refuse(r, code)
	s.refused.add(r.now, refusedChannel, refusal{allocation: a.id, channel: number, peer: peer, code: code, reason: reason}, s.report)
}

// SPDX-License-Identifier: Apache-2.0

package account

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"plumbline/logs"
	"plumbline/relay/datapath"
	"plumbline/relay/reconcile"
)

// changePause is how long a stream that keeps changing its datapath stays quiet
// between two lines. What it carries meanwhile is in the next line.
const changePause = time.Second

// idleAfter is how long a stream without traffic is remembered.
const idleAfter = 10 * time.Minute

// streamKey is one flow and direction, in whichever datapath. What no flow owns
// is a stream for each way of deciding it.
type streamKey struct {
	allocation string
	client     logs.Addr
	channel    logs.Channel
	peer       logs.Addr
	direction  string
	nobody     how // zero for flows
}

// how packets were decided.
type how struct{ datapath, verdict, reason string }

// cumulativeKey is one counter that only grows.
type cumulativeKey struct {
	streamKey
	how
}

// stream is what is still to be said of a flow and direction.
type stream struct {
	unsaid     map[how]logs.Traffic
	said       how // of the line before, zero: none yet
	generation uint32
	saidAt     time.Time // zero: none yet
	since      time.Time // when the first unsaid packet was found
}

func (a *Account) add(key streamKey, by how, t logs.Traffic) {
	if t.Packets == 0 {
		return
	}
	if by.verdict != "relay" && key.allocation == "" {
		key.nobody = by
	}
	s := a.streams[key]
	if s == nil {
		s = &stream{unsaid: map[how]logs.Traffic{}, since: a.opt.Now()}
		a.streams[key] = s
	}
	s.unsaid[by] = s.unsaid[by].Add(t)
	if by.verdict != "relay" || key.allocation == "" {
		return
	}
	sum := a.totals[key.allocation]
	if sum == nil {
		sum = &total{}
		a.totals[key.allocation] = sum
	}
	shares := &sum.toPeer
	if key.direction == reconcile.ToClient {
		shares = &sum.toClient
	}
	if by.datapath == "kernel" {
		shares.Kernel = shares.Kernel.Add(t)
	} else {
		shares.Userspace = shares.Userspace.Add(t)
	}
}

func (a *Account) addKernelFlow(c reconcile.FlowCount) {
	key := streamKey{allocation: c.Allocation, client: c.Client, channel: c.Channel, peer: c.Peer, direction: c.Direction}
	a.add(key, how{"kernel", "relay", PathOf(c.Direction)}, c.Traffic)
	a.owned[c.Direction] += c.Traffic.Packets
}

// addUnowned names what the router relayed under flow numbers that are no
// route's of ours: somebody else had written into its maps, which route.drifted
// has told. It can only be known when no packet is on its way any more, as live
// flows are read before the counters. The router counts no bytes by outcome.
func (a *Account) addUnowned(counts KernelCounts) {
	relayed := map[string]uint64{}
	for _, o := range counts.Outcomes {
		if o.Verdict == "relay" {
			relayed[o.Direction] += o.Packets
		}
	}
	var unowned uint64
	for direction, n := range relayed {
		if n > a.owned[direction] {
			unowned += n - a.owned[direction]
			a.add(streamKey{direction: direction}, how{"kernel", "relay", PathOf(direction)}, logs.Traffic{Packets: n - a.owned[direction]})
		}
	}
	if unowned > 0 {
		a.opt.Sink.Log(logs.Diagnostic{Level: logs.Warn, Text: fmt.Sprintf(
			"%d packets were relayed in the kernel by routes that are none of this relay's, see route.drifted", unowned)})
	}
}

// PathOf names what the router does in a direction.
func PathOf(direction string) string {
	if direction == reconcile.ToPeer {
		return "channel4>udp4"
	}
	return "udp4>channel4"
}

// addKernelOutcomes takes the passes and drops; what was relayed is counted by
// flow.
func (a *Account) addKernelOutcomes(counts KernelCounts) {
	for _, o := range counts.Outcomes {
		if o.Verdict == "relay" || o.Packets == 0 {
			continue
		}
		by := how{"kernel", o.Verdict, o.Reason}
		key := streamKey{direction: o.Direction}
		a.addCumulative(key, by, logs.Traffic{Packets: o.Packets}, false)
	}
}

func (a *Account) addUserspaceFlow(f datapath.FlowStat) {
	key := streamKey{
		allocation: f.Allocation, client: logs.Addr{AddrPort: f.Client}, channel: logs.Channel(f.Channel),
		peer: logs.Addr{AddrPort: f.Peer}, direction: f.Direction,
	}
	a.addCumulative(key, how{"userspace", f.Verdict, f.Reason}, logs.Traffic{Packets: f.Packets, Bytes: f.Bytes}, f.Ended)
}

func (a *Account) addCumulative(key streamKey, by how, now logs.Traffic, ended bool) {
	at := cumulativeKey{key, by}
	a.add(key, by, now.Sub(a.cumulative[at]))
	if ended {
		delete(a.cumulative, at)
	} else {
		a.cumulative[at] = now
	}
}

// speak logs the streams that have something to say: their first packets, a
// change, the interval's sum, or the end of their allocation.
func (a *Account) speak(now time.Time, summary bool, ended map[string]bool) {
	var keys []streamKey // of those that may have something to say
	for key, s := range a.streams {
		switch {
		case len(s.unsaid) > 0 || key.allocation != "" && ended[key.allocation]:
			keys = append(keys, key)
		case now.Sub(s.saidAt) > idleAfter:
			delete(a.streams, key)
		}
	}
	slices.SortFunc(keys, compareStreams)
	for _, key := range keys {
		s := a.streams[key]
		over := key.allocation != "" && ended[key.allocation]
		a.speakOf(key, s, now, summary || over)
		if over {
			delete(a.streams, key)
		}
	}
}

func (a *Account) speakOf(key streamKey, s *stream, now time.Time, all bool) {
	ways := make([]how, 0, len(s.unsaid))
	for by := range s.unsaid {
		ways = append(ways, by)
	}
	// What was said before comes first, so that a change reads in its order.
	slices.SortFunc(ways, func(x, y how) int {
		if (x == s.said) != (y == s.said) {
			if x == s.said {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.datapath, y.datapath), cmp.Compare(x.verdict, y.verdict), cmp.Compare(x.reason, y.reason))
	})
	paused := !s.saidAt.IsZero() && now.Sub(s.saidAt) < changePause
	for _, by := range ways {
		change := "summary"
		switch {
		case s.saidAt.IsZero():
			change = "first"
		case by != s.said || a.generation != s.generation:
			change = "changed"
			if paused && !all {
				continue
			}
		case !all:
			continue
		}
		a.say(key, s, by, change, now)
	}
}

func (a *Account) say(key streamKey, s *stream, by how, change string, now time.Time) {
	t := s.unsaid[by]
	delete(s.unsaid, by)
	began := s.saidAt
	if began.IsZero() {
		began = s.since
	}
	line := logs.RouteDecision{
		Client: key.client, Channel: key.channel, Peer: key.peer, Direction: key.direction,
		Datapath: by.datapath, Verdict: by.verdict, Reason: by.reason, Generation: a.generation, Change: change,
		Packets: t.Packets, Bytes: t.Bytes, WindowMS: now.Sub(began).Milliseconds(),
	}
	if key.allocation != "" {
		id := key.allocation
		line.Allocation = &id
	} else {
		line.Examples = a.takeExamples(by.reason)
	}
	s.said, s.generation, s.saidAt = by, a.generation, now
	a.opt.Sink.Log(line)
}

func (a *Account) takeExamples(reason string) []string {
	a.asking.Lock()
	defer a.asking.Unlock()
	examples := a.examples[reason]
	delete(a.examples, reason)
	return examples
}

func compareStreams(x, y streamKey) int {
	return cmp.Or(
		cmp.Compare(x.allocation, y.allocation), cmp.Compare(x.channel, y.channel),
		x.peer.Compare(y.peer.AddrPort), cmp.Compare(x.direction, y.direction),
		cmp.Compare(x.nobody.datapath, y.nobody.datapath), cmp.Compare(x.nobody.verdict, y.nobody.verdict),
		cmp.Compare(x.nobody.reason, y.nobody.reason))
}

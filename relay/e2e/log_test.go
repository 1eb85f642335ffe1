// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

// books are a run's packets as its decisions tell them, and as its final
// counters do. The two come from different maps and different code.
type books struct {
	run      string
	hole     bool   // lines are missing, as log.dropped says: sums lack theirs
	last     string // the run's last event
	why      string // the reason in log.closed
	verdicts map[string]uint64
	reasons  map[string]uint64
	final    *logs.DatapathCounters
	flows    map[string]uint64 // relayed by allocations' own account, by datapath
	ends     map[string]uint64 // the same, as allocation.deleted sums it up
}

// checkLog holds a log folder, whose runs have ended, to everything that it
// promises: lines by the schema and contiguous (logstest.CheckDir), each run
// closed in good order (killed ones excepted), and sums that are equal to
// the packet. It returns the lines.
func checkLog(t testing.TB, dir string, killed ...string) []logstest.Line {
	t.Helper()
	lines := logstest.CheckDir(t, dir)
	var runs []*books
	for _, l := range lines {
		if len(runs) == 0 || runs[len(runs)-1].run != l.Run {
			runs = append(runs, &books{run: l.Run, verdicts: map[string]uint64{}, reasons: map[string]uint64{}, flows: map[string]uint64{}, ends: map[string]uint64{}})
		}
		runs[len(runs)-1].enter(t, l)
	}
	if len(runs) == 0 {
		t.Errorf("%s: there is no run in the log", dir)
	}
	dead := map[string]bool{}
	for _, run := range killed {
		dead[run] = true
	}
	for _, b := range runs {
		if !dead[b.run] {
			b.check(t)
		}
	}
	return lines
}

func (b *books) enter(t testing.TB, l logstest.Line) {
	t.Helper()
	b.last = l.Event
	switch l.Event {
	case "log.dropped":
		b.hole = true
	case "log.closed":
		var e logs.Closed
		l.Decode(t, &e)
		b.why = e.Reason
	case "route.decision":
		var e logs.RouteDecision
		l.Decode(t, &e)
		b.verdicts[e.Datapath+" "+e.Verdict] += e.Packets
		b.reasons[e.Datapath+" "+e.Reason] += e.Packets
		if e.Verdict == "relay" && e.Allocation != nil {
			b.flows[*e.Allocation+" "+e.Direction+" "+e.Datapath] += e.Packets
		}
	case "allocation.deleted":
		var e logs.AllocationDeleted
		l.Decode(t, &e)
		for direction, s := range map[string]logs.Shares{"to_peer": e.ToPeer, "to_client": e.ToClient} {
			for datapath, packets := range map[string]uint64{"kernel": s.Kernel.Packets, "userspace": s.Userspace.Packets} {
				if packets > 0 {
					b.ends[e.Allocation+" "+direction+" "+datapath] += packets
				}
			}
		}
	case "datapath.counters":
		var e logs.DatapathCounters
		l.Decode(t, &e)
		b.identity(t, l, "user space", e.Userspace.Counters)
		if e.Kernel != nil && e.Final { // while frames are in flight, received may lag
			b.identity(t, l, "kernel", e.Kernel.Counters)
		}
		if e.Final {
			b.final = &e
		}
	}
}

func (b *books) identity(t testing.TB, l logstest.Line, what string, c logs.Counters) {
	t.Helper()
	var reasons uint64
	for n := range maps.Values(c.Reasons) {
		reasons += n
	}
	if c.Received != c.Relayed+c.Passed+c.Dropped || c.Received != reasons {
		t.Errorf("%s:%d: %s received %d, but relayed %d + passed %d + dropped %d, and the reasons sum up to %d", l.File, l.Number, what, c.Received, c.Relayed, c.Passed, c.Dropped, reasons)
	}
}

func (b *books) check(t testing.TB) {
	t.Helper()
	if b.last != "log.closed" || b.why != "shutdown" {
		t.Errorf("run %s ends with %s (%s), want log.closed (shutdown)", b.run, b.last, b.why)
	}
	if b.final == nil {
		t.Errorf("run %s has no final datapath.counters", b.run)
		return
	}
	if b.hole {
		return
	}
	verdicts, reasons := map[string]uint64{}, map[string]uint64{}
	side := func(datapath string, c logs.Counters) {
		for verdict, n := range map[string]uint64{"relay": c.Relayed, "pass": c.Passed, "drop": c.Dropped} {
			if n > 0 {
				verdicts[datapath+" "+verdict] = n
			}
		}
		for reason, n := range c.Reasons {
			reasons[datapath+" "+reason] = n
		}
	}
	if b.final.Kernel != nil {
		side("kernel", b.final.Kernel.Counters)
	}
	side("userspace", b.final.Userspace.Counters)
	if diff := unequal(b.verdicts, verdicts); diff != "" {
		t.Errorf("run %s: decisions by verdict are not the final counters: %s", b.run, diff)
	}
	if diff := unequal(b.reasons, reasons); diff != "" {
		t.Errorf("run %s: decisions by reason are not the final counters: %s", b.run, diff)
	}
	if diff := unequal(b.flows, b.ends); diff != "" {
		t.Errorf("run %s: decisions by allocation are not what allocation.deleted says: %s", b.run, diff)
	}
}

// unequal names the keys under which two sums differ.
func unequal(decisions, counters map[string]uint64) string {
	text := ""
	keys := maps.Clone(decisions)
	maps.Copy(keys, counters)
	for key := range keys {
		if decisions[key] != counters[key] {
			text += fmt.Sprintf(" %s: %d in decisions, %d counted;", key, decisions[key], counters[key])
		}
	}
	return text
}

// final are the counters that the log ends with.
func final(t testing.TB, lines []logstest.Line) logs.DatapathCounters {
	t.Helper()
	var last logs.DatapathCounters
	for _, l := range lines {
		if l.Event == "datapath.counters" {
			var e logs.DatapathCounters
			l.Decode(t, &e)
			if e.Final {
				last = e
			}
		}
	}
	if !last.Final {
		t.Fatal("the log has no final datapath.counters")
	}
	return last
}

// mostlyKernel fails unless the kernel relayed at least 95 % of at least so many
// data packets.
func mostlyKernel(t testing.TB, lines []logstest.Line, atLeast uint64) logs.DatapathCounters {
	t.Helper()
	c := final(t, lines)
	data := c.Userspace.Relayed
	var kernel uint64
	if c.Kernel != nil {
		kernel = c.Kernel.Relayed
	}
	data += kernel
	if kernel*100 < data*95 || data < atLeast {
		t.Errorf("the kernel relayed %d of %d data packets, want 95 %% of at least %d: %s", kernel, data, atLeast, asJSON(c))
	}
	return c
}

// both fails unless the two datapaths relayed so many packets together, and each
// of them some.
func both(t testing.TB, lines []logstest.Line, packets uint64) logs.DatapathCounters {
	t.Helper()
	c := final(t, lines)
	if c.Kernel == nil || c.Kernel.Relayed == 0 || c.Userspace.Relayed == 0 || c.Kernel.Relayed+c.Userspace.Relayed != packets {
		t.Errorf("both datapaths were to relay %d packets together: %s", packets, asJSON(c))
	}
	return c
}

func asJSON(v any) string {
	b, _ := json.Marshal(v) // for people, of our own types
	return string(b)
}

// named are the lines of an event.
func named(lines []logstest.Line, event string) []logstest.Line {
	var some []logstest.Line
	for _, l := range lines {
		if l.Event == event {
			some = append(some, l)
		}
	}
	return some
}

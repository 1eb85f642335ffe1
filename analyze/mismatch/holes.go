// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"
	"slices"
	"strings"

	"plumbline/analyze"
	"plumbline/logs"
)

// gap is where lines are missing: those before and behind it.
type gap struct {
	first         uint64 // seq of the first line missing
	before, after Evidence
	from, to      logs.Time
}

// maxGaps bounds how many gaps are remembered with the lines around them. All
// are counted.
const maxGaps = 100

// maxNamed is how many holes the summary spells out.
const maxNamed = 12

// gap looks whether the line follows the one before it.
func (r *run) gap(l *analyze.Line) {
	if l.Seq != r.lastSeq+1 {
		if r.apply != nil {
			r.apply.hole = true
		}
		if r.lastSeq > 0 && len(r.gaps) < maxGaps {
			r.gaps = append(r.gaps, gap{r.lastSeq + 1, r.latestAt.as("before"), r.at(l, "behind"), r.ended, when(l)})
		}
	}
	r.lastSeq, r.latestAt = max(r.lastSeq, l.Seq), r.at(l, "")
}

// dropped is a log.dropped line.
type dropped struct {
	event logs.Dropped
	at    Evidence
}

func (r *run) logDropped(l *analyze.Line, e logs.Dropped) {
	r.dropped.AddRange(e.FirstSeq, e.LastSeq)
	r.drops = append(r.drops, dropped{e, r.at(l, "dropped: "+e.Reason)})
}

// endLog finds the lines of the run that are missing.
func (r *run) endLog() {
	bounds, ok := r.id.Seen.Bounds()
	if !ok {
		return
	}
	holes := r.id.Seen.Holes()
	if bounds.First > 1 {
		if r.beginsInTheMiddle() {
			r.notes = append(r.notes, fmt.Sprintf("the log of run %s begins in the middle, with seq %d in %s: what came before is not judged", r.id.ID, bounds.First, r.first.File))
		} else {
			holes = append([]analyze.Interval{{First: 1, Last: bounds.First - 1}}, holes...)
		}
	}
	var lost, explained []analyze.Interval
	for _, h := range holes {
		if r.dropped.Contains(h) {
			explained = append(explained, h)
		} else {
			lost = append(lost, h)
		}
	}
	r.hole(lost, "%s of the run missing, and no line says why: %s", nil)
	r.hole(explained, "%s that the relay could not write: %s", r.drops)
	if c := r.closed; c != nil && c.Next != nil && r.files[[2]string{r.id.Relay, *c.Next}] == nil {
		r.notes = append(r.notes, fmt.Sprintf("the log of run %s goes on in %s, which was not given: what came after is not judged", r.id.ID, *c.Next))
	}
}

// beginsInTheMiddle is true if the run's first line shows that a file before it
// was left out: by whoever asked, or by the relay, which keeps only so many. If
// that file is here and of another run, then this run began with this one.
func (r *run) beginsInTheMiddle() bool {
	if r.opened == nil || r.opened.Previous == nil {
		return false
	}
	before := r.files[[2]string{r.id.Relay, *r.opened.Previous}]
	return before == nil || before == r
}

func (r *run) hole(holes []analyze.Interval, summary string, drops []dropped) {
	if len(holes) == 0 {
		return
	}
	var total uint64
	names := make([]string, 0, len(holes))
	for i, h := range holes {
		total += h.Count()
		if i >= maxNamed {
			continue
		}
		if h.First == h.Last {
			names = append(names, fmt.Sprintf("seq %d", h.First))
		} else {
			names = append(names, fmt.Sprintf("seq %d to %d", h.First, h.Last))
		}
	}
	if n := len(holes) - maxNamed; n > 0 {
		names = append(names, fmt.Sprintf("and %s (see --json)", plural(n, "more hole")))
	}
	lines := "1 line"
	if total > 1 {
		lines = grouped(total) + " lines"
	}
	f := r.finding(LogHole, r.began, fmt.Sprintf(summary, lines, strings.Join(names, ", ")))
	f.To, f.Count, f.Missing = r.ended, len(holes), holes
	for _, d := range drops {
		f.add(d.at)
	}
	if holes[0].First == 1 {
		f.add(r.first)
	}
	around := 0
	for _, h := range holes {
		i := slices.IndexFunc(r.gaps, func(g gap) bool { return g.first == h.First })
		if i < 0 {
			continue
		}
		if around++; around == 1 && holes[0].First > 1 {
			f.From = r.gaps[i].from
		}
		if h == holes[len(holes)-1] {
			f.To = r.gaps[i].to
		}
		f.add(r.gaps[i].before)
		f.add(r.gaps[i].after)
	}
	r.report(f, summary)
}

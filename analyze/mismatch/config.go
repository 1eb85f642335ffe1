// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"

	"plumbline/analyze"
	"plumbline/analyze/diff"
	"plumbline/logs"
)

// drift is a time in which the kernel's config was wrong.
type drift struct {
	*Finding
	before *snapshot // the counters when it was last right
	last   *snapshot // the newest counters since
}

// apply is a generation's time in force.
type apply struct {
	event    logs.ConfigApplied
	at       Evidence
	time     logs.Time
	observed bool
	hole     bool // lines are missing since: config.observed may be among them
	drifted  bool // reported otherwise
	excused  bool // the kernel path is known to be gone, which is told by itself
	// base is what the router had received at the first counters after the
	// apply; grew are the counters that showed more; later ones prove that the
	// observation is not merely late.
	base  *uint64
	grew  Evidence
	later Evidence
	more  uint64
}

func (r *run) applied(l *analyze.Line, e logs.ConfigApplied) {
	r.endApply(when(l))
	r.intended, r.intendedAt = &e.Intended, r.at(l, "intended")
	// The router uses a config a moment before the apply is over and logged.
	r.apply = &apply{event: e, at: r.intendedAt, time: when(l), observed: r.seenGeneration == e.Generation, excused: r.offload.gone}
	r.offload.intend(r, l, e.Intended.Enabled)
	if e.Verified != nil && *e.Verified {
		r.endUnverified(l)
		if r.drift != nil {
			r.drift.cite(l, "written anew")
			r.endDrift(when(l))
		}
		return
	}
	if e.Verified != nil {
		r.endUnverified(l)
		f := r.finding(NotVerified, when(l), fmt.Sprintf("config %d was applied, but the kernel read back something else", e.Generation))
		f.Generation, f.Diff = e.Generation, append(f.Diff, e.Diff...)
		f.cite(l, "applied")
		r.unverified = f
	}
}

// endUnverified ends an open apply-not-verified at a line that shows it mended.
func (r *run) endUnverified(l *analyze.Line) {
	f := r.unverified
	if f == nil {
		return
	}
	r.unverified = nil
	if l == nil {
		f.Standing = true
	} else {
		f.To = when(l)
		f.cite(l, "mended")
	}
	r.report(f, fmt.Sprint(f.Generation))
}

// endApply judges the generation in force when another follows or the log ends.
func (r *run) endApply(now logs.Time) {
	a := r.apply
	if a == nil {
		return
	}
	r.apply = nil
	e := a.event
	switch {
	case e.Verified == nil && e.Intended.Enabled && !a.excused:
		f := r.finding(NotVerified, a.time, fmt.Sprintf("config %d intends offload, but was not read back from the kernel", e.Generation))
		f.Generation, f.Standing, f.To = e.Generation, now.IsZero(), now
		f.add(a.at.as("applied"))
		r.report(f, "null")
	case e.Verified != nil && *e.Verified && a.later.Line > 0 && !a.observed && !a.hole && !a.drifted:
		f := r.finding(NeverObserved, a.time, fmt.Sprintf("config %d was applied and verified, but no packet was seen under it", e.Generation))
		f.Generation, f.Standing, f.To = e.Generation, now.IsZero(), now
		f.Effect = &Effect{Text: fmt.Sprintf("the router received %s more since, under what config is not known", packets(a.more))}
		f.add(a.at.as("applied"))
		f.add(a.grew)
		f.add(a.later)
		r.report(f, fmt.Sprint(e.Generation))
	}
}

func (r *run) observed(_ *analyze.Line, e logs.ConfigObserved) {
	r.seenGeneration = e.Generation
	if r.apply != nil && e.Generation == r.apply.event.Generation {
		r.apply.observed = true
	}
}

// counters feeds what waits for counters: applies, and the effects of drift.
func (r *run) counters(l *analyze.Line, e logs.DatapathCounters) {
	snap := snapshot{l.When(), e, r.at(l, "counters")}
	r.history.add(snap)
	if e.Final {
		r.sums.final, r.sums.at = &e, r.at(l, "final counters")
	}
	for _, d := range r.repaired {
		d.last = &snap
		r.reportDrift(d)
	}
	r.repaired = nil
	if r.drift != nil {
		r.drift.last = &snap
	}
	a := r.apply
	if a == nil || e.Kernel == nil || a.observed || a.excused {
		return
	}
	switch received := e.Kernel.Received; {
	case a.base == nil:
		a.base = &received
	case received <= *a.base:
	case a.grew.Line == 0:
		a.grew = r.at(l, "more packets")
	default:
		a.later, a.more = r.at(l, "still not observed"), received-*a.base
	}
}

func (r *run) drifted(l *analyze.Line, e logs.ConfigDrifted) {
	if r.apply != nil {
		r.apply.drifted = true
	}
	if d := r.drift; d != nil {
		d.Diff = append(d.Diff[:0], e.Diff...)
		d.cite(l, "drift again")
		return
	}
	from := e.LastGood
	if from.IsZero() || from.After(l.When()) {
		from = when(l)
	}
	f := r.finding(ConfigDrift, from, fmt.Sprintf("the kernel did not hold config %d", e.Generation))
	f.Generation, f.Diff = e.Generation, append(f.Diff, e.Diff...)
	if r.intended != nil && r.intended.Generation == e.Generation {
		f.add(r.intendedAt)
	}
	f.cite(l, "drift")
	r.drift = &drift{Finding: f, before: r.history.before(from.Time)}
	r.drift.last = r.history.newest()
}

func (r *run) configRepaired(l *analyze.Line, e logs.ConfigRepaired) {
	if !e.Verified {
		if r.drift != nil {
			r.drift.cite(l, "repair failed")
		}
		return
	}
	r.endUnverified(l)
	if r.drift != nil {
		r.drift.cite(l, "repaired")
		r.endDrift(when(l))
	}
}

// endDrift ends the open drift; it is reported with the next counters, which
// show its effect.
func (r *run) endDrift(to logs.Time) {
	r.drift.To = to
	r.repaired = append(r.repaired, r.drift)
	r.drift = nil
}

func (r *run) reportDrift(d *drift) {
	d.Effect = between(d.before, d.last)
	intended, kernel := diff.Sides(d.Diff)
	r.report(d.Finding, fmt.Sprint(d.Generation, intended, kernel))
}

func (r *run) rolledBack(l *analyze.Line, e logs.ConfigRolledBack) {
	f := r.finding(RolledBack, when(l), fmt.Sprintf("config %d could not be applied (%s: %s); config %d stayed in force", e.Generation, e.Step, e.Error, e.KeptGeneration))
	f.Generation, f.To = e.Generation, when(l)
	f.cite(l, "rolled back")
	r.report(f, e.Step+"\x00"+e.Error)
}

func (r *run) endConfig() {
	for _, d := range r.repaired {
		r.reportDrift(d)
	}
	if d := r.drift; d != nil {
		d.Standing = true
		r.reportDrift(d)
	}
	r.endUnverified(nil)
	r.endApply(logs.Time{})
}

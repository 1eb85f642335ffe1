// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"
	"slices"
	"strings"

	"plumbline/analyze"
	"plumbline/logs"
)

// Analysis takes the lines of a Reader in their order and gathers findings.
type Analysis struct {
	sel    *analyze.Selector // nil: everything
	runs   map[*analyze.Run]*run
	order  []*run
	latest *run
	// matched says that the line being looked at is selected.
	matched bool
	groups  map[string]*Finding
	found   []*Finding
	notes   []string
	// files says which run wrote a file, by relay and final name.
	files map[[2]string]*run
}

// New makes an Analysis. A selection keeps those findings that were so at some
// time within it and cite a line that it selects; but every line is looked at,
// because what came before explains what is wanted.
func New(sel *analyze.Selector) *Analysis {
	return &Analysis{sel: sel, runs: map[*analyze.Run]*run{}, groups: map[string]*Finding{}, files: map[[2]string]*run{}}
}

// run is what is known of one run so far.
type run struct {
	*Analysis
	id      *analyze.Run
	first   Evidence // its first line
	began   logs.Time
	opened  *logs.Opened // if its first line is log.opened
	ended   logs.Time    // time of its last line
	lastSeq uint64
	stopped bool         // relay.stopping or relay.stopped was seen
	closed  *logs.Closed // the last line, if it is log.closed

	intended       *logs.RouterConfig
	intendedAt     Evidence
	apply          *apply
	seenGeneration uint32   // of the latest config.observed
	unverified     *Finding // open
	history        history
	drift          *drift   // open
	repaired       []*drift // ended, and waiting for the counters behind them

	offload  offload
	routes   map[string]*Finding // open findings by route
	latestAt Evidence            // the line before
	gaps     []gap
	dropped  analyze.Intervals
	drops    []dropped
	sums     sums
}

// Line takes the next line.
func (a *Analysis) Line(l *analyze.Line) {
	a.matched = a.sel == nil || a.sel.MatchAnyTime(l)
	r := a.latest
	if r == nil || r.id != l.Run {
		if r = a.runs[l.Run]; r == nil {
			r = &run{Analysis: a, id: l.Run, first: a.at(l, "first line"), began: when(l), routes: map[string]*Finding{}}
			if string(l.Event) == "log.opened" {
				r.opened = decode[logs.Opened](l)
			}
			a.runs[l.Run] = r
			a.order = append(a.order, r)
		}
		a.latest = r
	}
	r.gap(l)
	r.ended, r.closed = when(l), nil
	r.event(l)
}

// event tells those who want to know. What the log holds most of comes first.
func (r *run) event(l *analyze.Line) {
	switch string(l.Event) {
	case "route.decision":
		r.decision(l)
	case "datapath.counters":
		with(l, r.counters)
	case "config.applied":
		with(l, r.applied)
	case "config.observed":
		with(l, r.observed)
	case "config.drifted":
		with(l, r.drifted)
	case "config.repaired":
		with(l, r.configRepaired)
	case "config.rolled_back":
		with(l, r.rolledBack)
	case "route.installed", "route.updated":
		with(l, r.routeInstalled)
	case "route.removed":
		with(l, r.routeRemoved)
	case "route.failed":
		with(l, r.routeFailed)
	case "route.drifted":
		with(l, r.routeDrifted)
	case "route.repaired":
		with(l, r.routeRepaired)
	case "allocation.deleted":
		if len(r.routes) > 0 {
			with(l, r.allocationDeleted)
		}
	case "checkpoint.started":
		with(l, r.checkpoint)
	case "offload.attached":
		with(l, r.attached)
	case "offload.detached":
		with(l, r.detached)
	case "offload.unavailable":
		with(l, r.unavailable)
	case "offload.transmit_failing":
		with(l, r.transmitFailing)
	case "relay.stopping", "relay.stopped":
		r.stopping(l)
	case "log.opened":
		if e := decode[logs.Opened](l); e != nil {
			r.files[[2]string{r.id.Relay, e.File}] = r
		}
	case "log.closed":
		r.closed = decode[logs.Closed](l)
	case "log.dropped":
		with(l, r.logDropped)
	}
}

// with hands the event to f. A line whose own fields are not what the catalogue
// says is skipped: its head was sound, so it still counts for the order.
func with[E any](l *analyze.Line, f func(*analyze.Line, E)) {
	if e := decode[E](l); e != nil {
		f(l, *e)
	}
}

func decode[E any](l *analyze.Line) *E {
	e := new(E)
	if l.Decode(e) != nil {
		return nil
	}
	return e
}

// at cites the line that is being looked at.
func (a *Analysis) at(l *analyze.Line, role string) Evidence {
	return Evidence{l.File.Name, l.Number, l.Seq, role, a.matched}
}

func when(l *analyze.Line) logs.Time { return logs.Time{Time: l.When()} }

// finding begins a finding of this run at a line.
func (r *run) finding(class Class, from logs.Time, summary string) *Finding {
	return &Finding{of: r.Analysis, Class: class, Summary: summary, Relay: r.id.Relay, Run: r.id.ID, From: from, Count: 1,
		Diff: []logs.Difference{}, Evidence: []Evidence{}, ToDo: advice[class]}
}

// report takes a finding that is complete. Findings of one run and class with
// the same key are told as one, with a count.
func (r *run) report(f *Finding, key string) {
	to := r.ended
	if !f.Standing {
		to = f.To
	}
	if r.sel != nil && (!f.selected || !r.sel.Within(f.From.UnixNano(), to.UnixNano())) {
		return
	}
	group := strings.Join([]string{r.id.Relay, r.id.ID, string(f.Class), key, fmt.Sprint(f.Standing)}, "\x00")
	if first := r.groups[group]; first != nil {
		first.join(f)
		return
	}
	r.groups[group] = f
	r.found = append(r.found, f)
}

// Report is what an Analysis comes to.
type Report struct {
	Schema   int        `json:"schema"`
	Findings []*Finding `json:"findings"`
	// Notes are what a reader should know about the log and what is no finding.
	Notes []string `json:"notes"`
	analyze.Stats
}

// Finish ends all runs and gives the findings in the order of their beginnings.
func (a *Analysis) Finish(stats analyze.Stats) *Report {
	for _, r := range a.order {
		r.endConfig()
		r.endRoutes()
		r.endOffload()
		r.endLog()
		r.endSums()
	}
	slices.SortStableFunc(a.found, func(x, y *Finding) int {
		if c := x.From.Compare(y.From.Time); c != 0 {
			return c
		}
		if c := strings.Compare(x.Relay+"\x00"+x.Run, y.Relay+"\x00"+y.Run); c != 0 {
			return c
		}
		return strings.Compare(string(x.Class)+x.Summary, string(y.Class)+y.Summary)
	})
	for i, f := range a.found {
		f.ID = fmt.Sprintf("F%d", i+1)
	}
	return &Report{Schema: 1, Findings: append([]*Finding{}, a.found...), Notes: append([]string{}, a.notes...), Stats: stats}
}

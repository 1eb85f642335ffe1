// SPDX-License-Identifier: Apache-2.0

// Package timeline prints the lines of a log for people: a heading per run and
// day, one line per event, and more than the message where two lines together
// say more than each alone: what a config changed, on which CPUs it was seen,
// where the kernel differs.
//
// Most lines are printed from their heads, undecoded, which is what makes it
// fast.
package timeline

import (
	"fmt"
	"io"
	"slices"

	"plumbline/analyze"
	"plumbline/logs"
)

// Options say how to print.
type Options struct {
	Color bool
	// Relays adds a column with the relay's name, for logs of several.
	Relays bool
	// Select chooses lines; nil prints all.
	Select *analyze.Selector
}

// Printer prints lines in the order in which it gets them.
type Printer struct {
	w     io.Writer
	opt   Options
	style style
	out   []byte
	err   error

	runs map[*analyze.Run]*run
	at   *run   // whose lines are being printed
	day  string // of the last heading

	// headings are those that wait for the first lines of their run to tell the
	// pid; while there are any, out is held back.
	headings []heading
	observed observed
}

// heading has its place in out kept for it.
type heading struct {
	run  *run
	day  string
	at   int // index in out
	held int // lines that were printed since
}

// run is what the printer remembers of a run.
type run struct {
	run        *analyze.Run
	version    string
	pid        int
	first      uint64 // seq of the first line
	last       uint64
	intended   *logs.RouterConfig
	generation uint32
	announced  bool
}

const (
	flushAt = 64 << 10
	// maxHeld is how many lines of a run may wait for relay.started. A start
	// takes a dozen.
	maxHeld = 64
)

// New makes a Printer. Close must be called to see everything.
func New(w io.Writer, opt Options) *Printer {
	p := &Printer{w: w, opt: opt, runs: map[*analyze.Run]*run{}, out: make([]byte, 0, 2*flushAt)}
	if opt.Color {
		p.style = colored
	}
	return p
}

// Line prints one line, if it is selected. The error is the writer's first.
func (p *Printer) Line(l *analyze.Line) error {
	r := p.at
	if r == nil || r.run != l.Run {
		r = p.known(l)
	}
	gap := r.last != 0 && l.Seq > r.last+1
	before := r.intended
	p.learn(r, l)
	if p.opt.Select != nil && !p.opt.Select.Match(l) {
		r.last = max(r.last, l.Seq)
		return p.err
	}
	if p.observed.joins(r, l) {
		r.last = max(r.last, l.Seq)
		return p.err
	}
	p.endObserved()
	if r != p.at || string(l.Clock[:10]) != p.day {
		p.begin(r, l)
	}
	if gap && (p.opt.Select == nil || p.opt.Select.All()) {
		p.hole(r.last+1, l.Seq-1)
	}
	r.last = max(r.last, l.Seq)
	p.event(r, l, before)
	if len(p.headings) > 0 {
		p.announce(false)
	} else if len(p.out) >= flushAt {
		p.write()
	}
	return p.err
}

// Flush writes what has been printed, but for what still waits to be told with
// the lines behind it. What is printed in the end does not depend on it.
func (p *Printer) Flush() error {
	if len(p.headings) == 0 {
		p.write()
	}
	return p.err
}

// Close writes the rest.
func (p *Printer) Close() error {
	p.endObserved()
	p.announce(true)
	p.write()
	return p.err
}

func (p *Printer) write() {
	if p.err == nil && len(p.out) > 0 {
		if _, err := p.w.Write(p.out); err != nil {
			p.err = fmt.Errorf("write the timeline: %w", err)
		}
	}
	p.out = p.out[:0]
}

func (p *Printer) known(l *analyze.Line) *run {
	r := p.runs[l.Run]
	if r == nil {
		r = &run{run: l.Run, first: l.Seq}
		p.runs[l.Run] = r
	}
	return r
}

// learn keeps what later lines are explained with, from lines that are not
// selected too.
func (p *Printer) learn(r *run, l *analyze.Line) {
	switch string(l.Event) {
	case "log.opened":
		var e logs.Opened
		if l.Decode(&e) == nil {
			r.version = e.Version
		}
	case "relay.started":
		var e logs.Started
		if l.Decode(&e) == nil {
			r.version, r.pid = e.Version, e.PID
		}
	case "config.applied":
		var e logs.ConfigApplied
		if l.Decode(&e) == nil {
			r.intended, r.generation = &e.Intended, e.Generation
		}
	case "checkpoint.started":
		var e logs.CheckpointStarted
		if l.Decode(&e) == nil && e.Intended.Generation != 0 {
			r.intended, r.generation = &e.Intended, e.Generation
		}
	}
}

// begin starts a heading: of a run, of a new day, or of a run that goes on.
func (p *Printer) begin(r *run, l *analyze.Line) {
	newDay := string(l.Clock[:10]) != p.day
	p.at, p.day = r, string(l.Clock[:10])
	switch {
	case !r.announced:
		r.announced = true
		p.headings = append(p.headings, heading{run: r, day: p.day, at: len(p.out)})
	case !p.opt.Relays:
		p.line(p.style.bold, fmt.Sprintf("%s %s run %s goes on", p.day, r.run.Relay, r.run.ID))
	case newDay:
		p.line(p.style.bold, p.day)
	}
}

// announce puts the headings in their places that need not wait any more.
func (p *Printer) announce(all bool) {
	waiting := p.headings[:0]
	shift := 0
	for _, h := range p.headings {
		h.at += shift
		// A run whose first line is not its first will not say its pid.
		if h.held++; !all && h.held < maxHeld && h.run.pid == 0 && h.run.first == 1 {
			waiting = append(waiting, h)
			continue
		}
		text := append(p.style.wrap(p.style.bold, h.text()), '\n')
		p.out = slices.Insert(p.out, h.at, text...)
		shift += len(text)
	}
	p.headings = waiting
}

func (h *heading) text() string {
	r := h.run
	text := fmt.Appendf(nil, "%s %s run %s", h.day, analyze.AppendVisible(nil, r.run.Relay), analyze.AppendVisible(nil, r.run.ID))
	if r.version != "" {
		text = fmt.Appendf(text, " plumbline %s", analyze.AppendVisible(nil, r.version))
	}
	if r.pid != 0 {
		text = fmt.Appendf(text, " pid %d", r.pid)
	}
	if r.first > 1 {
		text = fmt.Appendf(text, " (from its line %d on)", r.first)
	}
	return string(text)
}

// hole says which lines are missing between two that stand beside each other.
func (p *Printer) hole(first, last uint64) {
	text := fmt.Sprintf("%-12s  ----  line %d of this run is missing here", "", first)
	if last > first {
		text = fmt.Sprintf("%-12s  ----  %d lines of this run are missing here (seq %d to %d)", "", last-first+1, first, last)
	}
	p.line(p.style.warn, text)
}

// line prints a whole line in one colour.
func (p *Printer) line(color, text string) {
	p.out = append(p.out, p.style.wrap(color, text)...)
	p.out = append(p.out, '\n')
}

// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"encoding/json"
	"fmt"
	"strings"

	"plumbline/analyze"
	"plumbline/analyze/diff"
	"plumbline/logs"
)

// event prints one line of the log. before is the config that was in force.
func (p *Printer) event(r *run, l *analyze.Line, before *logs.RouterConfig) {
	switch string(l.Event) {
	case "config.applied":
		var e logs.ConfigApplied
		if l.Decode(&e) == nil {
			p.text(l, applied(e, before))
			if e.Verified != nil && !*e.Verified {
				p.sides(e.Diff)
			}
			return
		}
	case "config.observed":
		if p.observed.begin(r, l) {
			return // printed when it is known on which CPUs
		}
	case "config.drifted":
		var e logs.ConfigDrifted
		if l.Decode(&e) == nil && len(e.Diff) > 0 {
			p.text(l, fmt.Sprintf("kernel config differs from config %d in %s", e.Generation, fields(len(e.Diff))))
			p.sides(e.Diff)
			return
		}
	case "route.drifted":
		var e logs.RouteDrifted
		if l.Decode(&e) == nil && len(e.Diff) > 0 {
			p.head(l)
			p.out = append(l.AppendMessage(p.out), '\n')
			p.sides(e.Diff)
			return
		}
	}
	p.head(l)
	p.out = append(l.AppendMessage(p.out), '\n')
}

// applied says what an apply changed, which no single line of the log does.
func applied(e logs.ConfigApplied, before *logs.RouterConfig) string {
	var how string
	switch {
	case e.Verified == nil:
		how = fmt.Sprintf("applied in user space in %d µs, offload is not in use", e.DurationUS)
	case *e.Verified:
		how = fmt.Sprintf("applied and verified in %d µs", e.DurationUS)
	default:
		how = "applied, but the kernel holds something else"
	}
	return fmt.Sprintf("config %d %s: %s", e.Generation, how, diff.Changes(before, e.Intended))
}

func fields(n int) string {
	if n == 1 {
		return "1 field"
	}
	return fmt.Sprintf("%d fields", n)
}

// head prints the time, the relay where there are several, and the severity.
func (p *Printer) head(l *analyze.Line) {
	p.out = append(p.out, p.style.dim...)
	p.out = append(p.out, l.Clock[11:23]...)
	p.out = append(p.out, p.style.reset...)
	p.out = append(p.out, "  "...)
	if p.opt.Relays {
		p.out = append(analyze.AppendVisible(p.out, l.Run.Relay), "  "...)
	}
	p.out = append(p.out, p.style.severity[l.Severity]...)
	p.out = append(p.out, severities[l.Severity]...)
	p.out = append(p.out, p.style.reset...)
	p.out = append(p.out, ' ')
}

// severities are padded to one width.
var severities = [...]string{logs.Debug: "DEBUG", logs.Info: "INFO ", logs.Warn: "WARN ", logs.Error: "ERROR"}

func (p *Printer) text(l *analyze.Line, text string) {
	p.head(l)
	p.out = append(analyze.AppendVisible(p.out, text), '\n')
}

// sides prints what was intended and what the kernel held, below each other.
func (p *Printer) sides(d []logs.Difference) {
	minus, plus := diff.Sides(d)
	p.line(p.style.minus, strings.Repeat(" ", 20)+"- intended  "+minus)
	p.line(p.style.plus, strings.Repeat(" ", 20)+"+ kernel    "+plus)
}

// observed joins config.observed lines that follow each other: a config is seen
// on one CPU after the other.
type observed struct {
	run        *run
	generation uint32
	cpus       []string
	first      analyze.Line
}

func readObserved(l *analyze.Line) (e logs.ConfigObserved, ok bool) {
	return e, json.Unmarshal(l.Raw, &e) == nil
}

func (o *observed) begin(r *run, l *analyze.Line) bool {
	e, ok := readObserved(l)
	if !ok {
		return false
	}
	o.run, o.generation = r, e.Generation
	o.cpus = append(o.cpus[:0], fmt.Sprint(e.CPU))
	o.first = *l
	o.first.Clock = append([]byte(nil), l.Clock...)
	return true
}

// joins is true if l was taken into the line that waits.
func (o *observed) joins(r *run, l *analyze.Line) bool {
	if o.run != r || r == nil || l.Seq != r.last+1 || string(l.Event) != "config.observed" || string(l.Clock[:10]) != string(o.first.Clock[:10]) {
		return false
	}
	e, ok := readObserved(l)
	if !ok || e.Generation != o.generation {
		return false
	}
	o.cpus = append(o.cpus, fmt.Sprint(e.CPU))
	return true
}

func (p *Printer) endObserved() {
	o := &p.observed
	if o.run == nil {
		return
	}
	p.text(&o.first, fmt.Sprintf("config %d seen in effect on cpu %s", o.generation, strings.Join(o.cpus, ", ")))
	o.run = nil
}

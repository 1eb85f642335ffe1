// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"plumbline/analyze"
	"plumbline/analyze/filters"
	"plumbline/analyze/mismatch"
	"plumbline/analyze/summary"
	"plumbline/analyze/timeline"
)

type timelineCommand struct {
	inputFlags
	outputFlags
	Follow bool `help:"Go on with what the relay writes, until interrupted."`
}

// Run prints the timeline; with --json, the merged lines themselves.
func (c *timelineCommand) Run(s *streams) error {
	sel, err := c.selector(time.Now())
	if err != nil {
		return err
	}
	open := func(idle func()) *reading {
		return c.begin(s, c.Log, !isTerminal(s.out) && !c.Follow, analyze.Options{OnIdle: idle, Follow: c.Follow})
	}
	if c.JSON {
		out := bufio.NewWriterSize(s.out, 256<<10)
		_, err := open(func() { out.Flush() }).each(func(l *analyze.Line) error {
			if !sel.Match(l) {
				return nil
			}
			_, _ = out.Write(l.Raw)
			return out.WriteByte('\n')
		})
		return errors.Join(err, out.Flush())
	}
	var p *timeline.Printer
	log := open(func() { _ = p.Flush() }) // Line gives the error again
	p = timeline.New(s.out, timeline.Options{Color: c.colored(s.out), Relays: log.Relays() > 1, Select: sel})
	_, err = log.each(p.Line)
	return errors.Join(err, p.Close())
}

type mismatchesCommand struct {
	inputFlags
	outputFlags
}

// Run prints the findings.
func (c *mismatchesCommand) Run(s *streams) error {
	sel, err := c.selector(time.Now())
	if err != nil {
		return err
	}
	a := mismatch.New(sel)
	stats, readErr := c.open(s, c.Log, true, nil).each(func(l *analyze.Line) error { a.Line(l); return nil })
	if errors.Is(readErr, errStrict) {
		return readErr
	}
	rep := a.Finish(stats)
	if err := c.print(s.out, rep, rep.WriteText); err != nil {
		return errors.Join(readErr, err)
	}
	if readErr == nil && len(rep.Findings) > 0 {
		return errFound
	}
	return readErr
}

// print writes a result as JSON or as text.
func (f *outputFlags) print(out io.Writer, result any, text func(io.Writer, bool) error) error {
	if !f.JSON {
		return text(out, f.colored(out))
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(result)
}

type summaryCommand struct {
	inputFlags
	outputFlags
}

// Run prints the summary.
func (c *summaryCommand) Run(s *streams) error {
	now := time.Now()
	sel, err := c.selector(now)
	if err != nil {
		return err
	}
	counter, a := summary.New(sel), mismatch.New(sel)
	stats, readErr := c.open(s, c.Log, true, nil).each(func(l *analyze.Line) error {
		counter.Line(l)
		a.Line(l)
		return nil
	})
	if errors.Is(readErr, errStrict) {
		return readErr
	}
	classes := map[string]int{}
	for _, f := range a.Finish(stats).Findings {
		classes[string(f.Class)]++
	}
	sum := counter.Finish(stats, classes)
	return errors.Join(readErr, c.print(s.out, sum, sum.WriteText))
}

type filtersCommand struct {
	Name string `arg:"" optional:"" help:"Print this one."`
}

// Run lists the embedded filters, or prints one.
func (c *filtersCommand) Run(s *streams) error {
	if c.Name != "" {
		f, err := filters.Named(c.Name)
		if err != nil {
			return err
		}
		_, err = io.WriteString(s.out, f.Text)
		return err
	}
	for _, f := range filters.List() {
		if _, err := fmt.Fprintf(s.out, "%-18s %s\n", f.Name, f.Does()); err != nil {
			return err
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"
	"io"
	"strings"

	"plumbline/analyze"
	"plumbline/analyze/diff"
	"plumbline/logs"
)

// WriteText prints the report for people.
func (rep *Report) WriteText(w io.Writer, color bool) error {
	var b strings.Builder
	b.WriteString(rep.headline() + "\n")
	relays := map[string]bool{}
	width := 0
	for _, f := range rep.Findings {
		relays[f.Relay] = true
		width = max(width, len(f.Class))
	}
	for _, f := range rep.Findings {
		f.write(&b, width, len(relays) > 1, color)
	}
	for i, note := range rep.Notes {
		if i == 0 && len(rep.Findings) > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "note: %s\n", visible(note))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (rep *Report) headline() string {
	text := fmt.Sprintf("%s in %s, %s, %s", plural(len(rep.Findings), "finding"), plural(rep.Files, "file"), plural(rep.Runs, "run"), plural(rep.Lines, "line"))
	if rep.BadLines > 0 {
		text += fmt.Sprintf(" (and %s)", plural(rep.BadLines, "bad line"))
	}
	return text
}

func (f *Finding) write(b *strings.Builder, width int, relays, color bool) {
	paint := func(code, text string) string {
		if !color {
			return text
		}
		return "\x1b[" + code + "m" + text + "\x1b[0m"
	}
	head := fmt.Sprintf("%-3s %-*s  %s", f.ID, width, f.Class, span(f.From, f.To))
	if f.Generation != 0 {
		head += fmt.Sprintf("   config %d", f.Generation)
	}
	if relays {
		head += "   " + visible(f.Relay)
	}
	if f.Count > 1 && f.Class != LogHole {
		head += fmt.Sprintf("   %s times", grouped(uint64(f.Count)))
	}
	b.WriteString("\n" + paint("1", head) + "\n")
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(b, "    %-11s %s\n", name, visible(text))
		}
	}
	row("what", f.Summary)
	if len(f.Diff) > 0 {
		left, right := "intended", "kernel"
		if f.Class == SumsDiffer {
			left, right = "decisions", "counters"
		}
		minus, plus := diff.Sides(f.Diff)
		b.WriteString(paint("31", fmt.Sprintf("    - %-9s %s", left, visible(minus))) + "\n")
		b.WriteString(paint("32", fmt.Sprintf("    + %-9s %s", right, visible(plus))) + "\n")
	}
	if f.Effect != nil {
		row("effect", f.Effect.Text)
	}
	cites := make([]string, len(f.Evidence))
	for i, e := range f.Evidence {
		cites[i] = fmt.Sprintf("%s:%d (%s)", e.File, e.Line, e.Role)
	}
	if f.MoreEvidence > 0 {
		cites = append(cites, fmt.Sprintf("and %s", plural(f.MoreEvidence, "more line")))
	}
	row("evidence", strings.Join(cites, ", "))
	row("to do", f.ToDo)
}

// span is when a finding was so. The day is not repeated.
func span(from, to logs.Time) string {
	const day, clock = "2006-01-02", "15:04:05.000"
	a, b := from.UTC(), to.UTC()
	text := a.Format(day + " " + clock)
	switch {
	case to.IsZero():
		return text + " – (stands)"
	case a.Equal(b):
		return text
	case a.Format(day) == b.Format(day):
		return text + " – " + b.Format(clock)
	}
	return text + " – " + b.Format(day+" "+clock)
}

func visible(s string) string { return string(analyze.AppendVisible(nil, s)) }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(uint64(n)) + " " + noun + "s"
}

// SPDX-License-Identifier: Apache-2.0

package summary

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"plumbline/analyze"
	"plumbline/logs"
)

// WriteText prints the summary for people.
func (s *Summary) WriteText(w io.Writer, color bool) error {
	var b strings.Builder
	bold := func(text string) string {
		if color {
			return "\x1b[1m" + text + "\x1b[0m"
		}
		return text
	}
	head := fmt.Sprintf("%s, %s, %s", plural(s.Log.Files, "file"), plural(len(s.Runs), "run"), plural(s.Log.Lines, "line"))
	if s.Log.BadLines > 0 {
		head += ", " + plural(s.Log.BadLines, "bad line")
	}
	if s.Log.Duplicates > 0 {
		head += fmt.Sprintf(", %s read twice and counted once", plural(s.Log.Duplicates, "line"))
	}
	b.WriteString(head + "\n")
	for _, r := range s.Runs {
		b.WriteString("\n" + bold(r.title()) + "\n")
		r.rows(func(name, text string) {
			fmt.Fprintf(&b, "  %-12s %s\n", name, analyze.AppendVisible(nil, text))
		})
	}
	b.WriteString("\n" + bold("findings") + "  " + s.findings() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Summary) findings() string {
	if len(s.Findings) == 0 {
		return "none"
	}
	total := 0
	for _, n := range s.Findings {
		total += n
	}
	return fmt.Sprintf("%d: %s (see analyze mismatches)", total, counts(s.Findings))
}

func (r *Run) title() string {
	text := fmt.Sprintf("%s run %s", analyze.AppendVisible(nil, r.Relay), analyze.AppendVisible(nil, r.Run))
	if r.Version != "" {
		text += " plumbline " + string(analyze.AppendVisible(nil, r.Version))
	}
	if r.PID != 0 {
		text += fmt.Sprintf(" pid %d", r.PID)
	}
	return text
}

func (r *Run) rows(row func(name, text string)) {
	const layout = "2006-01-02 15:04:05"
	end := map[string]string{
		"stopped": "stopped (" + r.Reason + ")", "goes_on": "goes on in a file that was not read",
		"crashed": "ended without a last word (crashed or killed)", "open": "no end yet (running, or crashed)",
	}[r.End]
	row("time", fmt.Sprintf("%s – %s UTC, %s", r.From.UTC().Format(layout), r.To.UTC().Format(layout), end))
	row("lines", fmt.Sprintf("%s (%s)", grouped(uint64(r.Lines)), counts(r.Severities)))
	if len(r.Configs) > 0 {
		row("configs", configs(r.Configs))
	}
	ended := 0
	for _, n := range r.Allocations.Ended {
		ended += n
	}
	text := fmt.Sprintf("%s made, %s ended", grouped(uint64(r.Allocations.Made)), grouped(uint64(ended)))
	if ended > 0 {
		text += " (" + counts(r.Allocations.Ended) + ")"
	}
	row("allocations", fmt.Sprintf("%s, %s alive at the end", text, grouped(uint64(r.Allocations.Alive))))
	row("to peers", shares(r.ToPeer))
	row("to clients", shares(r.ToClient))
	row("passed up", decisions(r.Passed))
	row("dropped", decisions(r.Dropped))
	if len(r.Refused) > 0 {
		row("refused", counts(r.Refused))
	}
}

// configs lists generations, the newest last; a relay may have had thousands.
func configs(list []Config) string {
	const shown = 8
	var parts []string
	if n := len(list) - shown; n > 0 {
		parts = append(parts, fmt.Sprintf("%d before", n))
		list = list[n:]
	}
	for _, c := range list {
		how := "in user space"
		if c.Verified != nil && *c.Verified {
			how = "verified"
		} else if c.Verified != nil {
			how = "NOT verified"
		}
		parts = append(parts, fmt.Sprintf("%d %s %s", c.Generation, how, c.Applied.UTC().Format("15:04:05")))
	}
	return strings.Join(parts, ", ")
}

func shares(s logs.Shares) string {
	all := s.Kernel.Packets + s.Userspace.Packets
	if all == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s packets, %s: kernel %.1f %%, user space %.1f %%", grouped(all), size(s.Kernel.Bytes+s.Userspace.Bytes),
		100*float64(s.Kernel.Packets)/float64(all), 100*float64(s.Userspace.Packets)/float64(all))
}

func decisions(by map[string]Decisions) string {
	var parts []string
	for _, datapath := range slices.Sorted(maps.Keys(by)) {
		name := datapath
		if name == "userspace" {
			name = "user space"
		}
		parts = append(parts, name+" "+counts(by[datapath]))
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}

// counts lists names with numbers, the highest first.
func counts[M ~map[string]N, N int | uint64](m M) string {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		switch {
		case m[a] > m[b]:
			return -1
		case m[a] < m[b]:
			return 1
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = name + " " + grouped(uint64(m[name]))
	}
	return strings.Join(names, ", ")
}

func size(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for ; f >= 999.95 && i < len(units)-1; i++ {
		f /= 1000
	}
	return fmt.Sprintf("%.1f %cB", f, units[i])
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(uint64(n)) + " " + noun + "s"
}

func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

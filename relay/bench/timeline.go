// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"plumbline/analyze/loggen"
)

// timelineGoal is how many times faster than jq's one-liner the timeline is to be.
const timelineGoal = 10

// oneLiner is how the log is read without analyze.
const oneLiner = `cat *.log | jq -r '"\(.time) \(.severity) \(.message)"'`

// timelines times `analyze timeline` and jq's one-liner over one generated log
// folder, as whole processes, one after the other.
func timelines(ctx context.Context, w io.Writer, progress func(string), analyze string, size int64, rounds int) error {
	dir, err := os.MkdirTemp("", "plumbline-bench-log")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	progress(fmt.Sprintf("writing a log folder of %d MB", size/1e6))
	written, err := loggen.Folder(dir, size, 100_000, 200, 1)
	if err != nil {
		return fmt.Errorf("generating a log folder: %w", err)
	}
	if analyze, err = filepath.Abs(analyze); err != nil {
		return err
	}
	programs := []struct {
		name  string
		args  []string
		times []float64
		lines int
	}{
		{name: "analyze timeline", args: []string{analyze, "timeline", dir}},
		{name: "jq", args: []string{"sh", "-c", oneLiner}},
	}
	for round := range rounds {
		for i := range programs {
			p := &programs[(round+i)%len(programs)]
			progress(fmt.Sprintf("timeline, round %d of %d: %s", round+1, rounds, p.name))
			took, lines, err := timed(ctx, dir, p.args)
			if err != nil {
				return err
			}
			p.times = append(p.times, took.Seconds())
			p.lines = lines
		}
	}
	fmt.Fprintf(w, "`analyze timeline` and jq's one-liner over the same folder, %d MB, whole processes in turns; rounds: %d\n\n",
		written/1e6, rounds)
	fmt.Fprintf(w, "| | seconds | MB/s | lines printed |\n| --- | ---: | ---: | ---: |\n")
	for _, p := range programs {
		s := spreadOf(p.times)
		fmt.Fprintf(w, "| %s | %s | %.0f | %d |\n", p.name, s.text("%.2f"), float64(written)/1e6/s.median, p.lines)
	}
	ratio := spreadOf(ratios(programs[1].times, programs[0].times))
	verdict := "reached"
	if !(ratio.median >= timelineGoal) {
		verdict = "NOT reached"
	}
	fmt.Fprintf(w, "\n- analyze timeline is %s × as fast as jq, goal ≥ %d: %s\n\n", ratio.text("%.1f"), timelineGoal, verdict)
	return nil
}

// timed runs a program in a folder and returns how long it took, and how many
// lines it printed.
func timed(ctx context.Context, dir string, args []string) (time.Duration, int, error) {
	var lines lineCounter
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &lines, &errs
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("%v: %w:\n%s", args, err, errs.Bytes())
	}
	took := time.Since(start)
	if lines == 0 {
		return 0, 0, fmt.Errorf("%v printed nothing", args)
	}
	return took, int(lines), nil
}

// lineCounter reads as a pager would, and proves that something was printed.
type lineCounter int

func (l *lineCounter) Write(p []byte) (int, error) {
	*l += lineCounter(bytes.Count(p, []byte("\n")))
	return len(p), nil
}

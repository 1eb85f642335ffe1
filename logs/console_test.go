// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

// safeBuffer is a console that a test reads while the writer writes.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestTheConsoleShowsWhatMatters(t *testing.T) {
	t.Parallel()
	var screen safeBuffer
	c := &clock{at: time.Date(2026, 11, 24, 3, 22, 12, 120_000_000, time.UTC)}
	w := open(t, logs.WriterOptions{ConsoleOut: &screen, Now: c.Now, Settings: logs.Settings{Severity: logs.Info, Console: true}})
	w.Log(logs.ConfigObserved{Generation: 7, CPU: 1, Packets: 2})
	w.Log(logs.Diagnostic{Level: logs.Debug, Text: "a detail"})
	w.Log(logs.CheckpointFinished{})
	w.Log(logs.DatapathCounters{})
	w.Log(logs.Diagnostic{Level: logs.Error, Text: "forged\n03:22:12.120 INF all is well \x1b[2J"})
	must(t, w.Reconfigure(logs.Settings{Console: false}))
	w.Log(logs.ConfigObserved{Generation: 8})
	closed(t, w)
	got := strings.Split(strings.TrimSpace(screen.String()), "\n")
	want := []string{
		"03:22:12.120 INF config 7 seen in effect on cpu 1 (2 packets so far) event=config.observed",
		`03:22:12.120 ERR forged\n03:22:12.120 INF all is well \x1b[2J`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the console shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A console that blocks for ever: nothing else may.
func TestAStuckConsoleHoldsUpNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, wr, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer wr.Close()
	w := open(t, logs.WriterOptions{Dir: dir, ConsoleOut: wr, Settings: logs.Settings{Console: true}})
	const n = 5000 // far more than a pipe and the console's queue hold
	for i := range n {
		w.Log(note("line %d", i))
	}
	must(t, w.Flush())
	closed(t, w)
	if got := len(logstest.CheckDir(t, dir)); got != n+2 {
		t.Errorf("%d lines", got)
	}
}

func TestTheConsoleSaysWhatItDidNotShow(t *testing.T) {
	t.Parallel()
	r, wr, err := os.Pipe()
	must(t, err)
	defer wr.Close()
	w := open(t, logs.WriterOptions{ConsoleOut: wr, Settings: logs.Settings{Console: true}})
	for i := range 5000 {
		w.Log(note("line %d", i))
	}
	var screen safeBuffer
	go func() {
		defer r.Close()
		buf := make([]byte, 4096)
		for {
			n, err := r.Read(buf)
			if err != nil {
				return
			}
			_, _ = screen.Write(buf[:n])
		}
	}()
	waitUntil(t, "the console catches up", func() bool {
		w.Log(note("more"))
		return strings.Contains(screen.String(), "not shown: the console did not keep up")
	})
	closed(t, w)
}

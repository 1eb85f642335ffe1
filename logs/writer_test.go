// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

// open makes a writer that the test closes at the latest.
func open(t testing.TB, opt logs.WriterOptions) *logs.Writer {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	if opt.Relay == "" {
		opt.Relay = "edge-1"
	}
	opt.Version = "test"
	w, err := logs.NewWriter(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close("shutdown") })
	return w
}

func closed(t testing.TB, w *logs.Writer) {
	t.Helper()
	if err := w.Close("shutdown"); err != nil {
		t.Fatal(err)
	}
}

func note(format string, args ...any) logs.Event {
	return logs.Diagnostic{Level: logs.Info, Text: fmt.Sprintf(format, args...)}
}

func TestEveryExampleIsAValidLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, logs.WriterOptions{Dir: dir, Settings: logs.Settings{Severity: logs.Debug}})
	examples := logstest.Examples()
	missing := make(map[string]bool)
	for _, ev := range logs.Catalogue() {
		missing[ev.Name()] = true
	}
	for _, ev := range examples {
		delete(missing, ev.Name())
		w.Log(ev)
	}
	for name := range missing {
		t.Errorf("no example of %s", name)
	}
	closed(t, w)
	// Each line, not the folder: among the examples are log.opened and others
	// that the writer alone may write.
	text, err := os.ReadFile(filepath.Join(dir, logs.LiveFile))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines) != len(examples)+2 {
		t.Errorf("%d lines for %d events", len(lines), len(examples))
	}
	for _, l := range lines {
		if err := logs.ValidateLine(l); err != nil {
			t.Errorf("%v\n\t%s", err, l)
		}
	}
	jqPrintsSentences(t, filepath.Join(dir, logs.LiveFile), len(lines))
}

// jqPrintsSentences runs the reader that operators use.
func jqPrintsSentences(t *testing.T, file string, lines int) {
	t.Helper()
	jq, err := exec.LookPath("jq")
	if err != nil {
		if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
			t.Fatal("needs jq")
		}
		t.Log("jq is not installed: what it prints was not looked at")
		return
	}
	out, err := exec.Command(jq, "-r", `"\(.time) \(.severity) \(.message)"`, file).Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(got) != lines {
		t.Errorf("jq printed %d lines for %d", len(got), lines)
	}
	for _, l := range got {
		words := strings.Fields(l)
		if strings.Contains(l, "null") || len(words) < 4 {
			t.Errorf("jq printed %q", l)
		}
	}
}

func TestAnEventFasterThanTheFlushIntervalIsWrittenAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, logs.WriterOptions{Dir: dir})
	for _, level := range []logs.Severity{logs.Info, logs.Warn} {
		start := time.Now()
		w.Log(logs.Diagnostic{Level: level, Text: "hello " + level.String()})
		for {
			text, _ := os.ReadFile(filepath.Join(dir, logs.LiveFile))
			if strings.Contains(string(text), "hello "+level.String()) {
				break
			}
			if time.Since(start) > 5*time.Second {
				t.Fatalf("a %s line did not reach the file", level)
			}
			time.Sleep(time.Millisecond)
		}
		// Generous, as the machine may be busy; the promise is 100 ms.
		if took := time.Since(start); took > time.Second {
			t.Errorf("a %s line took %s to reach the file", level, took)
		}
	}
}

func TestSeverityFiltersDiagnosticsOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, logs.WriterOptions{Dir: dir, Settings: logs.Settings{Severity: logs.Warn}})
	w.Log(note("left out"))
	w.Log(logs.AllocationRefreshed{Allocation: "a-1", LifetimeS: 1, Expires: logs.Time{Time: time.Now()}})
	w.Log(logs.Diagnostic{Level: logs.Warn, Text: "kept"})
	if err := w.Reconfigure(logs.Settings{Severity: logs.Debug}); err != nil {
		t.Fatal(err)
	}
	w.Log(logs.Diagnostic{Level: logs.Debug, Text: "kept too"})
	closed(t, w)
	var got []string
	for _, l := range logstest.CheckDir(t, dir) { // which sees that nothing took a seq
		got = append(got, l.Event)
	}
	if want := "log.opened allocation.refreshed diagnostic diagnostic log.closed"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// Rotation under load: whatever producers do, each of their lines is in the
// folder once and in its producer's order.
func TestRotationLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const producers, each = 8, 2000
	w := open(t, logs.WriterOptions{Dir: dir, Settings: logs.Settings{MaxSize: logs.MinMaxSize}, QueueLines: 1 << 20, QueueBytes: 1 << 30})
	var all sync.WaitGroup
	for p := range producers {
		all.Go(func() {
			for i := range each {
				w.Log(note("p%d-%d %s", p, i, strings.Repeat("x", i%300)))
				if i%977 == 0 {
					if err := w.Rotate("signal"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	closed(t, w)
	var next [producers]int
	files := make(map[string]bool)
	for _, l := range logstest.CheckDir(t, dir) {
		files[l.File] = true
		if l.Event != "diagnostic" {
			continue
		}
		var p, i int
		if _, err := fmt.Sscanf(l.Message, "p%d-%d ", &p, &i); err != nil {
			t.Fatalf("%q: %v", l.Message, err)
		}
		if i != next[p] {
			t.Fatalf("%s:%d: producer %d: got %d, want %d", l.File, l.Number, p, i, next[p])
		}
		next[p]++
	}
	for p, n := range next {
		if n != each {
			t.Errorf("producer %d: %d of %d lines", p, n, each)
		}
	}
	if len(files) < 100 {
		t.Errorf("only %d files", len(files))
	}
	for f := range files {
		if st, err := os.Stat(filepath.Join(dir, f)); err != nil || st.Size() > logs.MinMaxSize {
			t.Errorf("%s: %d bytes, %v", f, st.Size(), err)
		}
	}
}

// clock is a clock that the test sets.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func TestNamesKeepTheirOrderWhenTheClockStepsBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &clock{at: time.Date(2026, 11, 24, 3, 22, 12, 120_999_999, time.UTC)}
	w := open(t, logs.WriterOptions{Dir: dir, Now: c.Now})
	steps := []time.Duration{0, 0, -time.Hour, time.Microsecond, time.Second, 2 * time.Hour, -time.Nanosecond}
	for i, d := range steps {
		c.step(d)
		w.Log(note("line %d", i))
		if err := w.Rotate("signal"); err != nil {
			t.Fatal(err)
		}
	}
	closed(t, w)
	lines := logstest.CheckDir(t, dir)
	said := 0
	for _, l := range lines {
		if strings.Contains(l.Message, "clock stepped back by") {
			said++
		}
	}
	if said != 2 {
		t.Errorf("the log speaks of %d steps back, want 2", said)
	}
	names, err := logstest.Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != len(steps)+1 || names[0] != "relay-20261124T032212.120Z.log" || names[1] != "relay-20261124T032212.121Z.log" {
		t.Errorf("files are %v", names)
	}

	// The next run's clock is a year back: its files still come after.
	c.step(-365 * 24 * time.Hour)
	w = open(t, logs.WriterOptions{Dir: dir, Now: c.Now, Run: "Z" + logs.NewRun(c.Now())})
	closed(t, w)
	logstest.CheckDir(t, dir)
}

func TestAgeRotates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &clock{at: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)}
	w := open(t, logs.WriterOptions{Dir: dir, Now: c.Now, Settings: logs.Settings{MaxAge: time.Hour}})
	for range 5 {
		w.Log(note("a line"))
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		c.step(30 * time.Minute)
	}
	closed(t, w)
	rotated := 0
	for _, l := range logstest.CheckDir(t, dir) {
		var e logs.Closed
		if l.Event == "log.closed" {
			if l.Decode(t, &e); e.Reason == "age" {
				rotated++
			}
		}
	}
	if rotated != 2 {
		t.Errorf("%d rotations for age, want 2", rotated)
	}
}

func waitUntil(t testing.TB, what string, true func() bool) {
	t.Helper()
	for start := time.Now(); !true(); time.Sleep(2 * time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("waited 10 s until %s", what)
		}
	}
}

func TestTheSecondWriterOfAFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, logs.WriterOptions{Dir: dir})
	_, err := logs.NewWriter(logs.WriterOptions{Dir: dir, Settings: logs.Settings{Keep: 1}})
	if !errors.Is(err, logs.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("the second one got: %v", err)
	}
	closed(t, w)
	closed(t, open(t, logs.WriterOptions{Dir: dir}))
	logstest.CheckDir(t, dir)
}

func TestTooLongAnEventIsReplacedAndSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, logs.WriterOptions{Dir: dir})
	w.Log(logs.ConfigLoaded{Digest: strings.Repeat("d", 70_000), Source: "start"})
	closed(t, w)
	lines := logstest.CheckDir(t, dir)
	if m := lines[1].Message; lines[1].Event != "diagnostic" || lines[1].Severity != "ERROR" || !strings.Contains(m, "config.loaded was left out") {
		t.Errorf("got %s", lines[1].Raw)
	}
}

func TestALargeCheckpointedAllocationGoesOverSeveralLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, logs.WriterOptions{Dir: dir})
	var a logs.CheckpointAllocation
	for _, ev := range logstest.Examples() {
		if e, ok := ev.(logs.CheckpointAllocation); ok {
			a = e
		}
	}
	const permissions, channels, routes = 3000, 1111, 1001
	permission, channel, route := a.Permissions[0], a.Channels[0], a.Routes[0]
	a.Permissions, a.Channels, a.Routes = nil, nil, nil
	for i := range permissions {
		permission.Peer = fmt.Sprintf("10.0.%d.%d", i/256, i%256)
		a.Permissions = append(a.Permissions, permission)
	}
	for i := range channels {
		channel.Channel = logs.Channel(0x4000 + i)
		a.Channels = append(a.Channels, channel)
	}
	for i := range routes {
		route.Channel = logs.Channel(0x4000 + i)
		a.Routes = append(a.Routes, route)
	}
	w.Log(a)
	closed(t, w)
	var got logs.CheckpointAllocation
	parts := 0
	for _, l := range logstest.CheckDir(t, dir) {
		if l.Event != "checkpoint.allocation" {
			continue
		}
		parts++
		var part logs.CheckpointAllocation
		l.Decode(t, &part)
		if part.Allocation != a.Allocation || part.Client != a.Client {
			t.Errorf("part %d is of %s", parts, part.Allocation)
		}
		got.Permissions = append(got.Permissions, part.Permissions...)
		got.Channels = append(got.Channels, part.Channels...)
		got.Routes = append(got.Routes, part.Routes...)
	}
	if parts < 2 || len(got.Permissions) != permissions || len(got.Channels) != channels || len(got.Routes) != routes {
		t.Fatalf("%d parts with %d, %d, %d", parts, len(got.Permissions), len(got.Channels), len(got.Routes))
	}
	for i, p := range got.Permissions {
		if p.Peer != a.Permissions[i].Peer {
			t.Fatalf("permission %d is %s", i, p.Peer)
		}
	}
}

func TestRunsSortByStart(t *testing.T) {
	t.Parallel()
	last := ""
	for i := range 1000 {
		run := logs.NewRun(time.UnixMilli(1_790_000_000_000 + int64(i)*int64(i)))
		if len(run) != 26 || run[:10] < last {
			t.Fatalf("%s comes after %s", run, last)
		}
		last = run[:10]
	}
	start := time.Unix(1_790_000_000, 999_000)
	for i := range 1000 { // within one millisecond, as of a relay that starts again at once
		earlier, later := logs.NewRun(start.Add(time.Duration(i))), logs.NewRun(start.Add(time.Duration(i+1)))
		if earlier >= later {
			t.Fatalf("%s, a nanosecond later %s", earlier, later)
		}
	}
	now := time.Now()
	if a, b := logs.NewRun(now), logs.NewRun(now); a == b {
		t.Error("two runs of one moment have one id")
	}
}

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
	"testing"
	"time"

	"pgregory.net/rapid"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

const childDir = "PLUMBLINE_TEST_LOG_DIR"

// TestMain is also the relay that TestKilledInTheMiddle kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		w, err := logs.NewWriter(logs.WriterOptions{Dir: dir, Relay: "edge-1", Version: "test", Settings: logs.Settings{MaxSize: logs.MinMaxSize}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		for i := 0; ; i++ {
			w.Log(note("line %d %s", i, strings.Repeat("x", i%2000)))
		}
	}
	os.Exit(m.Run())
}

func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 5 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		var out bytes.Buffer
		child.Stdout = &out
		must(t, child.Start())
		before, _ := logstest.Files(dir)
		waitUntil(t, "the child has rotated", func() bool {
			names, _ := logstest.Files(dir)
			return len(names) >= len(before)+3
		})
		time.Sleep(time.Duration(round) * 3 * time.Millisecond) // anywhere in its work
		must(t, child.Process.Kill())
		_ = child.Wait()
		if out.Len() > 0 {
			t.Fatal(out.String())
		}
		// A kill between two writes leaves whole lines; cut one as well.
		live := filepath.Join(dir, logs.LiveFile)
		if st, err := os.Stat(live); err == nil && round%2 == 1 {
			must(t, os.Truncate(live, max(0, st.Size()-7)))
		}
	}
	closed(t, open(t, logs.WriterOptions{Dir: dir}))
	lines := logstest.CheckDir(t, dir)
	runs := make(map[string]bool)
	for _, l := range lines {
		runs[l.Run] = true
	}
	if len(runs) != 6 {
		t.Errorf("%d runs", len(runs))
	}
}

func TestRecoveredBytesAreSaid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := open(t, logs.WriterOptions{Dir: dir})
	w.Log(note("one"))
	closed(t, w)
	live := filepath.Join(dir, logs.LiveFile)
	f, err := os.OpenFile(live, os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString(`{"time":"2026-11-24T03:22:1`)
	must(t, errors.Join(err, f.Close()))
	closed(t, open(t, logs.WriterOptions{Dir: dir}))
	for _, l := range logstest.CheckDir(t, dir) {
		if l.File == logs.LiveFile && l.Event == "log.opened" {
			var e logs.Opened
			l.Decode(t, &e)
			if e.RecoveredBytes != 27 || e.Previous == nil || !strings.HasPrefix(*e.Previous, "relay-2") {
				t.Errorf("got %s", l.Raw)
			}
		}
	}
}

// Recovery of any damage that an append-only file can take: it may end anywhere
// and hold zeros where blocks never reached the disk.
func TestRecoveryKeepsExactlyTheWholeLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		var text []byte
		var ends []int
		n := rapid.IntRange(1, 40).Draw(t, "lines")
		for i := range n {
			text = fmt.Appendf(text, `{"time":"%d","pad":"%s"}`+"\n", i, strings.Repeat("x", rapid.IntRange(0, 9000).Draw(t, "pad")))
			ends = append(ends, len(text))
		}
		cut := rapid.IntRange(0, len(text)).Draw(t, "cut")
		damaged := bytes.Clone(text[:cut])
		from, to := cut, cut
		if rapid.Bool().Draw(t, "zeros") {
			if rapid.Bool().Draw(t, "at the end") {
				damaged = append(damaged, make([]byte, rapid.IntRange(1, 200_000).Draw(t, "tail"))...)
			} else {
				from = rapid.IntRange(0, cut).Draw(t, "from")
				to = rapid.IntRange(from, cut).Draw(t, "to")
				clear(damaged[from:to])
			}
		}
		var want []byte
		start := 0
		for _, end := range ends {
			// A line stays if it is all there; one that begins within zeros
			// and is whole after them does not exist in an intact file.
			if end <= cut && (from == to || end <= from || start >= to) {
				want = append(want, text[start:end]...)
			}
			start = end
		}
		path := filepath.Join(dir, "damaged")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		removed, _, err := logs.RecoverFile(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes are left, want %d; cut at %d, zeros from %d to %d", len(got), len(want), cut, from, to)
		}
		if removed != int64(len(damaged)-len(got)) {
			t.Fatalf("says %d bytes, was %d", removed, len(damaged)-len(got))
		}
	})
}

func TestAForeignFileIsMovedAsideUntouched(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"text":       "my notes about relays\nwithout end",
		"other json": `{"level":"info"}` + "\n",
	} {
		dir := t.TempDir()
		live := filepath.Join(dir, logs.LiveFile)
		must(t, os.WriteFile(live, []byte(content), 0o600))
		if _, _, err := logs.RecoverFile(live, 0); !errors.Is(err, logs.ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
		closed(t, open(t, logs.WriterOptions{Dir: dir}))
		if got := events(logstest.CheckDir(t, dir)); got != "log.opened diagnostic log.closed" {
			t.Errorf("%s: %s", name, got)
		}
		aside, _ := filepath.Glob(live + ".foreign-*")
		if len(aside) != 1 {
			t.Fatalf("%s: moved to %v", name, aside)
		}
		if kept, _ := os.ReadFile(aside[0]); string(kept) != content {
			t.Errorf("%s became %q", name, kept)
		}
	}
	// A link is not followed: it could point at any file that we may write.
	dir := t.TempDir()
	target := filepath.Join(t.TempDir(), "target")
	must(t, os.WriteFile(target, []byte(`{"time":"cut`), 0o600))
	must(t, os.Symlink(target, filepath.Join(dir, logs.LiveFile)))
	closed(t, open(t, logs.WriterOptions{Dir: dir}))
	logstest.CheckDir(t, dir)
	if kept, _ := os.ReadFile(target); string(kept) != `{"time":"cut` {
		t.Errorf("the link's target became %q", kept)
	}
}

func TestAnEmptyLiveFileIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, logs.LiveFile), nil, 0o600))
	closed(t, open(t, logs.WriterOptions{Dir: dir}))
	if got := events(logstest.CheckDir(t, dir)); got != "log.opened log.closed" {
		t.Errorf("got %s", got)
	}
}

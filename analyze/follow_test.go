// SPDX-License-Identifier: Apache-2.0

package analyze_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"plumbline/analyze"
	"plumbline/analyze/loggen"
)

// A followed log gives every line as it is written, in whatever pieces, over
// rotations.
func TestFollow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := run("edge-1", "run-1", loggen.Start, 40)
	live := filepath.Join(dir, "relay.log")
	write(t, filepath.Join(dir, "relay-0.log"), bytes.Join(r.Lines[:5], nil))
	write(t, live, bytes.Join(r.Lines[5:10], nil))
	seqs := make(chan uint64, 100)
	reader := analyze.Open([]string{dir}, analyze.Options{
		Follow:  true,
		OnBad:   func(b analyze.Bad) { t.Error(b) },
		OnNote:  func(s string) { t.Error(s) },
		OnError: func(err error) { t.Error(err) },
	})
	go func() {
		defer close(seqs)
		for {
			l, err := reader.Next()
			if err != nil {
				return
			}
			seqs <- l.Seq
			if l.Seq == 40 {
				reader.Close()
				return
			}
		}
	}()
	next := uint64(1)
	until := func(last uint64) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for ; next <= last; next++ {
			select {
			case seq := <-seqs:
				if seq != next {
					t.Fatalf("seq %d, want %d", seq, next)
				}
			case <-deadline:
				t.Fatalf("seq %d was not read", next)
			}
		}
	}
	add := func(data []byte) {
		f, err := os.OpenFile(live, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	until(10)
	add(r.Lines[10][:50])
	add(append(r.Lines[10][50:], r.Lines[11]...))
	until(12)
	add(r.Lines[12])
	if err := os.Rename(live, filepath.Join(dir, "relay-1.log")); err != nil {
		t.Fatal(err)
	}
	write(t, live, bytes.Join(r.Lines[13:20], nil))
	until(20)
	if err := os.Rename(live, filepath.Join(dir, "relay-2.log")); err != nil {
		t.Fatal(err)
	}
	write(t, live, r.Lines[20])
	until(21)
	add(bytes.Join(r.Lines[21:], nil))
	until(40)
}

func TestWhatCannotBeFollowed(t *testing.T) {
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		write(t, filepath.Join(dir, "relay.log"), run("edge-1", "run-1", loggen.Start, 1).Bytes())
	}
	for _, args := range [][]string{{"-"}, {one, two}, {t.TempDir()}} {
		failed := false
		r := analyze.Open(args, analyze.Options{Follow: true, OnError: func(error) { failed = true }})
		if _, err := r.Next(); err == nil || !failed {
			t.Errorf("%v is followed", args)
		}
		r.Close()
	}
}

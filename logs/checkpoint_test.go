// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

func checkpointEvents(reason string, n int) []logs.Event {
	evs := []logs.Event{logs.CheckpointStarted{Reason: reason, Generation: 1, Allocations: n}}
	for _, ev := range logstest.Examples() {
		if a, ok := ev.(logs.CheckpointAllocation); ok {
			for range n {
				evs = append(evs, a)
			}
		}
	}
	return append(evs, logs.CheckpointFinished{Allocations: n})
}

// Each file holds a whole checkpoint, though each checkpoint is larger than
// MaxSize and so are the events that go on meanwhile.
func TestEachFileHoldsAWholeCheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var w *logs.Writer
	ready := make(chan struct{})
	var done atomic.Int32
	w = open(t, logs.WriterOptions{Dir: dir, Settings: logs.Settings{MaxSize: logs.MinMaxSize},
		OnCheckpoint: func(reason string) {
			<-ready
			for _, ev := range checkpointEvents(reason, 60) {
				w.Log(ev)
				w.Log(note("meanwhile %s", strings.Repeat("x", 150)))
			}
			done.Add(1)
		}})
	close(ready)
	made := make(map[string]bool)
	for i := range 600 {
		w.Log(note("line %d %s", i, strings.Repeat("x", 100)))
		if i%10 == 0 {
			// A core that answers before as much again as MaxSize came in.
			must(t, w.Flush())
			made[w.Status().File] = true
			waitUntil(t, "the core has answered", func() bool { return int(done.Load()) >= len(made) })
		}
	}
	closed(t, w)
	finished := make(map[string]int)
	var files []string
	for _, l := range logstest.CheckDir(t, dir) {
		switch l.Event {
		case "log.opened":
			files = append(files, l.File)
		case "checkpoint.started":
			finished[l.File]--
		case "checkpoint.finished":
			finished[l.File] += 2
		}
	}
	if len(files) < 4 {
		t.Fatalf("files: %v", files)
	}
	for _, f := range files[:len(files)-1] { // the last one may have been closed before
		if finished[f] != 1 {
			t.Errorf("%s: no whole checkpoint", f)
		}
		if st, err := os.Stat(filepath.Join(dir, f)); err != nil || st.Size() < 60*500 {
			t.Errorf("%s has %d bytes: checkpoints count toward max_size", f, st.Size())
		}
	}
}

// A core that never answers does not let a file grow beyond twice its size.
func TestACheckpointThatNeverComesDelaysRotationOnlySoFar(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hang := make(chan struct{})
	defer close(hang)
	var calls atomic.Int32
	w := open(t, logs.WriterOptions{Dir: dir, Settings: logs.Settings{MaxSize: logs.MinMaxSize},
		OnCheckpoint: func(string) { calls.Add(1); <-hang }})
	for i := range 2000 {
		w.Log(note("line %d", i))
	}
	closed(t, w) // though the call hangs
	names, err := logstest.Files(dir)
	must(t, err)
	for _, f := range names {
		if st, err := os.Stat(filepath.Join(dir, f)); err != nil || st.Size() > 2*logs.MinMaxSize {
			t.Errorf("%s: %d bytes, %v", f, st.Size(), err)
		}
	}
	if len(names) < 5 || calls.Load() != 1 {
		t.Errorf("%d files, %d calls at a time", len(names), calls.Load())
	}
	logstest.CheckDir(t, dir)
}

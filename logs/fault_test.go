// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

// faulty is a disk that fails as it is told.
type faulty struct {
	logs.Disk
	mu       sync.Mutex
	room     int   // bytes that still fit, when write is set
	write    error // what a write beyond room says
	truncate error
	create   error
	rename   error
	writes   atomic.Int32 // begun; while mu is held they hang
}

func (f *faulty) set(change func(*faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faulty) heal() {
	f.set(func(f *faulty) { f.write, f.truncate, f.create, f.rename = nil, nil, nil, nil })
}

func (f *faulty) Create(path string) (logs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.create != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: f.create}
	}
	file, err := f.Disk.Create(path)
	return &faultyFile{file, f}, err
}

func (f *faulty) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rename != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: f.rename}
	}
	return f.Disk.Rename(from, to)
}

type faultyFile struct {
	logs.File
	disk *faulty
}

func (f *faultyFile) Write(b []byte) (int, error) {
	f.disk.writes.Add(1)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.write == nil || len(b) <= f.disk.room {
		f.disk.room -= len(b)
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:max(0, f.disk.room)])
	f.disk.room = 0
	if err == nil {
		err = f.disk.write
	}
	return n, err
}

func (f *faultyFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.truncate != nil {
		return f.disk.truncate
	}
	return f.File.Truncate(size)
}

// events lists a folder's events with what tests look at.
func events(lines []logstest.Line) string {
	var out []string
	for _, l := range lines {
		if l.Event == "diagnostic" && l.Severity == "INFO" {
			out = append(out, l.Message)
		} else {
			out = append(out, l.Event)
		}
	}
	return strings.Join(out, " ")
}

func TestAFullDiskThatHealsLosesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		fault := rapid.SampledFrom([]error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS}).Draw(rt, "fault")
		room := rapid.IntRange(0, 3000).Draw(rt, "room")
		untruncatable := rapid.Bool().Draw(rt, "truncate fails too")
		disk := &faulty{}
		var mu sync.Mutex
		var asked []string
		w := open(t, logs.WriterOptions{Dir: dir, OnCheckpoint: func(reason string) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, reason)
		}}.On(disk))
		w.Log(note("before"))
		if err := w.Flush(); err != nil {
			rt.Fatal(err)
		}
		disk.set(func(d *faulty) {
			d.room, d.write = room, fault
			if untruncatable {
				d.truncate = fault
			}
		})
		var want []string
		for i := range 30 {
			want = append(want, fmt.Sprint("line ", i))
			w.Log(note("line %d", i))
		}
		if err := w.Flush(); !errors.Is(err, fault) {
			rt.Fatalf("the fault shows as %v", err)
		}
		if s := w.Status(); !errors.Is(s.Fault, fault) || s.FaultSince.IsZero() {
			rt.Fatalf("status %+v", s)
		}
		w.Log(note("after"))
		if !untruncatable {
			wholeLines(rt, filepath.Join(dir, logs.LiveFile))
		}
		_ = w.Flush() // still broken
		disk.heal()
		if err := w.Flush(); err != nil {
			rt.Fatal(err)
		}
		if s := w.Status(); s.Fault != nil || s.Dropped != 0 {
			rt.Fatalf("status %+v", s)
		}
		closed(t, w)
		var got []string
		for _, l := range logstest.CheckDir(rt2tb(t, rt), dir) {
			if strings.HasPrefix(l.Message, "line ") {
				got = append(got, l.Message)
			}
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			rt.Fatalf("got %v", got)
		}
	})
}

// rt2tb lets CheckDir, which wants a testing.TB, report to a property's test.
func rt2tb(t *testing.T, rt *rapid.T) testing.TB { return property{t, rt} }

type property struct {
	testing.TB
	rt *rapid.T
}

func (p property) Errorf(format string, args ...any) { p.rt.Errorf(format, args...) }
func (p property) Fatalf(format string, args ...any) { p.rt.Fatalf(format, args...) }
func (p property) Fatal(args ...any)                 { p.rt.Fatal(args...) }

func wholeLines(t interface{ Fatalf(string, ...any) }, path string) {
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatalf("%v", err)
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		t.Fatalf("%s ends with %q", path, text[max(0, len(text)-40):])
	}
}

func TestWhatMemoryCantHoldIsCountedAndNamed(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{nil, unix.ENOSPC} {
		dir := t.TempDir()
		disk := &faulty{}
		asked := make(chan string, 10)
		w := open(t, logs.WriterOptions{Dir: dir, QueueLines: 10, OnCheckpoint: func(reason string) { asked <- reason }}.On(disk))
		if got := <-asked; got != "file" {
			t.Fatalf("asked for a checkpoint %q", got)
		}
		if w.Busy() {
			t.Error("busy while idle")
		}
		reason := "queue_full"
		if fault != nil {
			disk.set(func(d *faulty) { d.write, d.room = fault, 0 })
			w.Log(note("line 0")) // this one is held back
			if w.Flush() == nil {
				t.Fatal("no fault")
			}
			reason = "write_error: no space left on device"
		} else {
			disk.mu.Lock() // the disk hangs
			begun := disk.writes.Load()
			w.Log(logs.Diagnostic{Level: logs.Warn, Text: "line 0"})
			waitUntil(t, "the writer hangs", func() bool { return disk.writes.Load() > begun })
		}
		for i := 1; i < 25; i++ {
			w.Log(note("line %d", i))
		}
		if !w.Busy() {
			t.Error("not busy with a full queue")
		}
		dropped := w.Status().Dropped
		if dropped < 10 {
			t.Fatalf("%d dropped", dropped)
		}
		if fault != nil {
			disk.heal()
		} else {
			disk.mu.Unlock()
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := <-asked; got != "hole" {
			t.Errorf("asked for a checkpoint %q after the hole", got)
		}
		w.Log(note("the end"))
		closed(t, w)
		holes := 0
		for _, l := range logstest.CheckDir(t, dir) { // which compares log.dropped with the hole
			if l.Event == "log.dropped" {
				var e logs.Dropped
				l.Decode(t, &e)
				holes++
				if e.Reason != reason || e.Count != dropped {
					t.Errorf("%+v, want %d for %s", e, dropped, reason)
				}
			}
		}
		if holes != 1 {
			t.Errorf("%d holes", holes)
		}
	}
}

func TestAFolderThatCantBeWrittenIsNoReasonNotToStart(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := filepath.Join(parent, "logs")
	if err := os.WriteFile(dir, []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	var screen safeBuffer
	w := open(t, logs.WriterOptions{Dir: dir, ConsoleOut: &screen, Settings: logs.Settings{Console: true}})
	w.Log(note("early"))
	if err := w.Flush(); !errors.Is(err, syscall.ENOTDIR) {
		t.Fatalf("the fault is %v", err)
	}
	waitUntil(t, "the console says so", func() bool { return strings.Contains(screen.String(), "can't be written") })
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	closed(t, w)
	if got := events(logstest.CheckDir(t, dir)); got != "log.opened early diagnostic log.closed" {
		t.Errorf("got %s", got)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A small event after a large one that found no room joins the hole: what is
// missing is one range, and stands where it was lost.
func TestAHoleIsOneRange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := &faulty{}
	w := open(t, logs.WriterOptions{Dir: dir, QueueBytes: 4000}.On(disk))
	disk.mu.Lock()
	begun := disk.writes.Load()
	w.Log(logs.Diagnostic{Level: logs.Warn, Text: "taken"})
	waitUntil(t, "the writer hangs", func() bool { return disk.writes.Load() > begun })
	large := logs.AuthRejected{User: strings.Repeat("u", 4000)}
	w.Log(large)
	w.Log(note("small"))
	dropped := w.Status().Dropped
	disk.mu.Unlock()
	if dropped != 2 {
		t.Errorf("%d dropped, want both", dropped)
	}
	closed(t, w)
	logstest.CheckDir(t, dir)
}

func TestARealFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
			t.Fatal("needs root: mounts a small tmpfs")
		}
		t.Skip("needs root: mounts a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skip("needs root: mount tmpfs: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	w := open(t, logs.WriterOptions{Dir: dir, QueueLines: 500})
	pad := strings.Repeat("x", 300)
	i := 0
	for ; w.Flush() == nil; i++ {
		if i > 10000 {
			t.Fatal("the disk never fills")
		}
		w.Log(note("line %d %s", i, pad))
	}
	if !errors.Is(w.Status().Fault, unix.ENOSPC) {
		t.Fatalf("the fault is %v", w.Status().Fault)
	}
	wholeLines(t, filepath.Join(dir, logs.LiveFile))
	for range 1000 {
		w.Log(note("line %d %s", i, pad))
		i++
	}
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=4m"))
	must(t, w.Flush())
	closed(t, w)
	n, holes := 0, 0
	for _, l := range logstest.CheckDir(t, dir) {
		if strings.HasPrefix(l.Message, "line ") {
			n++
		}
		if l.Event == "log.dropped" {
			var e logs.Dropped
			l.Decode(t, &e)
			holes += int(e.Count)
		}
	}
	if n+holes != i || holes == 0 {
		t.Errorf("%d lines and %d dropped of %d", n, holes, i)
	}
}

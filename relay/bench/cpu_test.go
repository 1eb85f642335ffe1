// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	idle, stolen, err := parseStat([]byte("cpu  198196 0 77788 369705 4097 0 928 3446 0 0\ncpu0 1 2 3\n"))
	if err != nil || idle != ticks(369705+4097) || stolen != ticks(3446) {
		t.Errorf("idle %s, stolen %s, %v", idle, stolen, err)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8 9"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestUseIsWhatIsNeitherIdleNorOfOthers(t *testing.T) {
	start := time.Unix(1, 0)
	a := cpuTime{at: start, idle: 10 * time.Second, stolen: time.Second, foreign: 5 * time.Second}
	b := cpuTime{at: start.Add(2 * time.Second), idle: 11 * time.Second, stolen: 1100 * time.Millisecond, foreign: 5500 * time.Millisecond}
	if got := b.since(a, 2); got.Busy != 2400*time.Millisecond || got.Foreign != 500*time.Millisecond {
		t.Errorf("got %+v", got)
	}
}

func proc(t *testing.T, dir string, pid, parent, utime, cstime int, name string) {
	t.Helper()
	d := filepath.Join(dir, strconv.Itoa(pid))
	if err := os.MkdirAll(d, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%d (%s) S %d 1 1 0 -1 0 0 0 0 0 %d 0 0 %d 20 0 1 0 5 0 0\n", pid, name, parent, utime, cstime)
	if err := os.WriteFile(filepath.Join(d, "stat"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestForeignIsWithoutOursAndTheKernels(t *testing.T) {
	dir := t.TempDir()
	proc(t, dir, 1, 0, 100, 0, "init")
	proc(t, dir, 2, 0, 1000, 0, "kthreadd")
	proc(t, dir, 15, 2, 5000, 0, "ksoftirqd/0")
	proc(t, dir, 300, 1, 7, 30, "a shell) R 2 (x")
	proc(t, dir, 400, 300, 50000, 0, "bench")
	proc(t, dir, 500, 400, 90000, 0, "turnserver")
	got, err := foreignCPU(dir, 400)
	if err != nil || got != ticks(137) {
		t.Errorf("got %s (%v), want %s", got, err, ticks(137))
	}
	proc(t, dir, 300, 1, 7, 30, "")
	if err := os.WriteFile(filepath.Join(dir, "300", "stat"), []byte("300 (short) S 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := foreignCPU(dir, 400); err == nil {
		t.Error("a line cut short was taken")
	}
}

// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plumbline/logs/logstest"
	"plumbline/relay/testbed"
)

// A kernel that refuses membarrier has two other ways, and the log says once
// which one is gone.
func TestGraceWithoutMembarrier(t *testing.T) {
	testbed.Require(t)
	var sink logstest.Recorder
	g := newGrace(&sink)
	var slept time.Duration
	g.sleep = func(d time.Duration) { slept += d }
	if err := g.wait(); err != nil || len(sink.Events()) != 0 {
		t.Fatalf("with membarrier: %v, %v", err, sink.Events())
	}
	g.barrier = func() error { return unix.EINVAL }
	for range 3 {
		if err := g.wait(); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(sink.Events()); n != 1 || slept != 0 {
		t.Fatalf("%d lines, slept %s: want one line, and the map of maps to wait", n, slept)
	}
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	if err := g.wait(); err != nil || slept != restInstead {
		t.Fatalf("without maps it rested %s: %v", slept, err)
	}
}

// The waiting is real: an update of a map of maps takes about as long as a
// grace period, and not as long as writing four bytes.
func TestMapOfMapsWaits(t *testing.T) {
	testbed.Require(t)
	var sink logstest.Recorder
	g := newGrace(&sink)
	defer g.close()
	g.barrier = func() error { return unix.EINVAL }
	longest := time.Duration(0)
	for range 5 {
		began := time.Now()
		if err := g.wait(); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(began))
	}
	t.Logf("the longest of five waits took %s", longest)
	if longest < 500*time.Microsecond {
		t.Errorf("the longest of five waits took %s: that was no grace period", longest)
	}
}

// SPDX-License-Identifier: Apache-2.0

// Package logstest is for tests of what logs: a sink that keeps events, one
// filled example of every event, and a check of a whole log folder.
package logstest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"plumbline/logs"
)

// Recorder is a logs.Sink that keeps every event, in order. Its zero value is
// ready.
type Recorder struct {
	mu     sync.Mutex
	events []logs.Event
	more   chan struct{} // closed and replaced when an event comes
}

// Log keeps the event.
func (r *Recorder) Log(ev logs.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

// Events is what was logged so far.
func (r *Recorder) Events() []logs.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

// Named is what was logged so far under one name.
func (r *Recorder) Named(name string) []logs.Event {
	return slices.DeleteFunc(r.Events(), func(ev logs.Event) bool { return ev.Name() != name })
}

// Reset forgets what was logged so far.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil
}

// WaitFor returns the first event that match accepts, those logged before the
// call included. After timeout the test fails, with what was logged instead.
func (r *Recorder) WaitFor(t testing.TB, match func(logs.Event) bool, timeout time.Duration) logs.Event {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	seen := 0
	for {
		r.mu.Lock()
		seen = min(seen, len(r.events)) // Reset may have come between
		fresh := slices.Clone(r.events[seen:])
		seen += len(fresh)
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		for _, ev := range fresh {
			if match(ev) {
				return ev
			}
		}
		select {
		case <-more:
		case <-deadline.C:
			for _, ev := range r.Events() {
				t.Logf("%s %s: %s", ev.Severity(), ev.Name(), ev.Message())
			}
			t.Fatalf("the event that was waited for did not come in %s; what did is above", timeout)
			return nil
		}
	}
}

// WaitForName is WaitFor for the first event of a name.
func (r *Recorder) WaitForName(t testing.TB, name string, timeout time.Duration) logs.Event {
	t.Helper()
	return r.WaitFor(t, func(ev logs.Event) bool { return ev.Name() == name }, timeout)
}

// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a file and its hints, for time that only a bubble passes.
type fake struct {
	hint chan struct{}

	mu       sync.Mutex
	data     string
	err      error
	reads    []time.Duration // since start
	started  time.Time
	rearmed  int
	followed []string
	closed   bool
}

func (f *fake) hints() <-chan struct{} { return f.hint }
func (f *fake) close()                 { f.closed = true }
func (f *fake) rearm(bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rearmed++
}

func (f *fake) read(string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = append(f.reads, time.Since(f.started))
	if f.err != nil {
		return []byte("garbage"), f.err
	}
	return []byte(f.data), nil
}

func (f *fake) follow(named []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followed = named
}

// follows is what the watcher has said to follow.
func (f *fake) follows() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.followed
}

// bubble runs a watcher over a fake file that holds "one", which was read. What
// it delivers lands in got.
func bubble(t *testing.T, body func(f *fake, w *Watcher)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hint: make(chan struct{}, 1), data: "one", started: time.Now()}
		ctx, stop := context.WithCancel(t.Context())
		w := start(ctx, Options{Path: "x", Last: []byte("one"), Read: f.read}, f, nil)
		body(f, w)
		stop()
		w.Wait()
		if !f.closed {
			t.Error("the hinter was not closed")
		}
	})
}

// set is what the next reading finds.
func (f *fake) set(data string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data, f.err = data, err
}

// settle lets the first reading pass and starts the record anew.
func (f *fake) settle() {
	time.Sleep(500 * time.Millisecond)
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads, f.started = nil, time.Now()
}

// record is when the file was read, and how often watches were armed.
func (f *fake) record() ([]time.Duration, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reads), f.rearmed
}

func (f *fake) touch() { f.hint <- struct{}{} }

// next is what was delivered within d of the bubble's time, or nil.
func next(w *Watcher, d time.Duration) *Update {
	select {
	case u := <-w.Updates():
		return &u
	case <-time.After(d):
		return nil
	}
}

func TestQuietBeforeReading(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		f.settle()
		f.set("two", nil)
		for range 4 { // every hint puts the reading off
			f.touch()
			time.Sleep(100 * time.Millisecond)
		}
		u := next(w, time.Second)
		if u == nil || string(u.Data) != "two" || u.Source != Changed {
			t.Fatalf("got %+v", u)
		}
		reads, _ := f.record()
		if want := 300*time.Millisecond + DefaultDebounce; !slices.Equal(reads, []time.Duration{want}) {
			t.Errorf("read at %v, want once at %v", reads, want)
		}
	})
}

func TestHintsCannotPutOffReadingForEver(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		f.settle()
		f.set("two", nil)
		for range 12 { // 1.2 s without 150 ms of quiet
			f.touch()
			time.Sleep(100 * time.Millisecond)
		}
		if reads, _ := f.record(); !slices.Equal(reads, []time.Duration{DefaultMaxDelay}) {
			t.Errorf("read at %v, want once at %v", reads, DefaultMaxDelay)
		}
		if u := next(w, time.Second); u == nil || string(u.Data) != "two" {
			t.Fatalf("got %+v", u)
		}
	})
}

func TestSameBytesSayNothing(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		f.touch()
		if u := next(w, 10*time.Second); u != nil {
			t.Errorf("got %+v", u)
		}
		if reads, rearmed := f.record(); rearmed == 0 || len(reads) == 0 {
			t.Errorf("%d times armed, %d times read: nobody looked", rearmed, len(reads))
		}
	})
}

func TestPollNeedsNoHint(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		time.Sleep(time.Second)
		f.set("two", nil)
		if u := next(w, DefaultPoll+DefaultDebounce); u == nil || string(u.Data) != "two" {
			t.Fatalf("got %+v", u)
		}
	})
}

// TestPollDoesNotTear: a poll that meets a file being written waits like
// everybody else.
func TestPollDoesNotTear(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		time.Sleep(1950 * time.Millisecond)
		f.set("tw", nil)
		time.Sleep(100 * time.Millisecond)
		f.set("two", nil)
		if u := next(w, 5*time.Second); u == nil || string(u.Data) != "two" {
			t.Fatalf("got %+v", u)
		}
	})
}

func TestBytesThatComeBackAreNews(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		for _, data := range []string{"not: valid: yaml", "one"} {
			f.set(data, nil)
			f.touch()
			if u := next(w, time.Second); u == nil || string(u.Data) != data {
				t.Fatalf("%q: got %+v", data, u)
			}
		}
	})
}

func TestAnErrorIsSaidOnce(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		f.set("", errors.New("gone"))
		u := next(w, 5*time.Second)
		if u == nil || u.Err == nil || u.Data != nil {
			t.Fatalf("got %+v", u)
		}
		f.touch()
		if u := next(w, 10*time.Second); u != nil {
			t.Errorf("again: %+v", u)
		}
		other := errors.New("not allowed")
		f.set("", other)
		if u := next(w, 5*time.Second); u == nil || u.Err != other {
			t.Errorf("another error: %+v", u)
		}
		f.set("one", nil)
		if u := next(w, 5*time.Second); u == nil || string(u.Data) != "one" {
			t.Errorf("back again: %+v", u)
		}
	})
}

func TestReloadAlwaysDelivers(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		for range 2 {
			w.Reload()
			if u := next(w, time.Millisecond); u == nil || string(u.Data) != "one" || u.Source != Reloaded {
				t.Fatalf("got %+v", u)
			}
		}
		f.set("", errors.New("gone"))
		for range 2 {
			w.Reload()
			if u := next(w, time.Millisecond); u == nil || u.Err == nil || u.Source != Reloaded {
				t.Fatalf("got %+v", u)
			}
		}
	})
}

// TestBusyReceiver: the newest reading wins, and that somebody asked for one is
// not forgotten.
func TestBusyReceiver(t *testing.T) {
	bubble(t, func(f *fake, w *Watcher) {
		w.Reload()
		time.Sleep(time.Second)
		for _, data := range []string{"two", "three"} {
			f.set(data, nil)
			f.touch()
			time.Sleep(time.Second)
		}
		if u := next(w, time.Millisecond); u == nil || string(u.Data) != "three" || u.Source != Reloaded {
			t.Errorf("got %+v", u)
		}
		if u := next(w, 10*time.Second); u != nil {
			t.Errorf("and then %+v", u)
		}
	})
}

func TestNothingReadBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{data: "one", started: time.Now()}
		ctx, stop := context.WithCancel(t.Context())
		w := start(ctx, Options{Path: "x", Read: f.read}, f, nil)
		if u := next(w, time.Second); u == nil || string(u.Data) != "one" {
			t.Errorf("got %+v", u)
		}
		stop()
		w.Wait()
	})
}

// SPDX-License-Identifier: Apache-2.0

// Package watch delivers the bytes of one file, and of the files that it names,
// whenever they change, however they change: written in place, renamed over, removed and made again, behind a
// symbolic link that moves, in a folder that is replaced, or on a file system
// that sends no events.
//
// No event is believed. It only hints that the file is worth reading once
// things are quiet; what counts is whether the bytes read then differ from
// those read last. A slow poll gives the same hint where events fail.
package watch

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Defaults of Options.
const (
	DefaultDebounce = 150 * time.Millisecond
	DefaultMaxDelay = time.Second
	DefaultPoll     = 2 * time.Second
)

// Source is what made the watcher read.
type Source string

// The sources have the names that config.loaded gives them.
const (
	Changed  Source = "watch"
	Reloaded Source = "signal"
)

// Update is one reading: either Data, or Err where the file could not be read.
// Data is the receiver's. Named holds the files that Data names, as they were
// found at the same time; it is not to be changed.
type Update struct {
	Data   []byte
	Err    error
	Named  map[string]File
	Source Source
}

// Options says what to watch. Zero durations mean the defaults.
type Options struct {
	Path string
	// Last is what the caller read already. Anything else that is found there
	// is delivered, also what changed before the watcher started. nil: nothing
	// was read, so the first reading is delivered.
	Last []byte
	// Debounce is how long a file must be left alone before it is read.
	Debounce time.Duration
	// MaxDelay is how long hints that keep coming can put off a reading.
	MaxDelay time.Duration
	// Poll is the time between looks that need no event.
	Poll time.Duration
	// Read reads the file; nil is config.ReadFile.
	Read func(path string) ([]byte, error)

	// Named lists the files that the bytes of the watched one name, each once,
	// in an order that only the bytes decide. They are watched and delivered
	// with it. nil: it names none.
	Named func(data []byte) []string
	// ReadNamed reads one of them; nil is Read.
	ReadNamed func(path string) ([]byte, error)
	// LastNamed is what was read of them together with Last.
	LastNamed map[string]File
}

// Watcher watches a file, and those that it names, until its context ends.
type Watcher struct {
	opts     Options
	updates  chan Update
	reload   chan struct{}
	degraded error
	done     sync.WaitGroup
}

// hinter tells that a file may have changed.
type hinter interface {
	// hints are coalesced: one may stand for many.
	hints() <-chan struct{}
	// rearm follows the path anew, to the folders that it leads through now.
	// all watches them again even if they look the same.
	rearm(all bool)
	// follow says which files there are besides the first; rearm reaches them.
	follow(named []string)
	close()
}

// Start watches a file. It always succeeds: a file that is missing or can't be
// read is an Update, and where the kernel gives no events polling remains (see
// Degraded).
func Start(ctx context.Context, opts Options) *Watcher {
	h, err := newFolders(opts.Path)
	if err != nil {
		return start(ctx, opts, silent{}, err)
	}
	return start(ctx, opts, h, nil)
}

func start(ctx context.Context, opts Options, h hinter, degraded error) *Watcher {
	opts.Debounce = positive(opts.Debounce, DefaultDebounce)
	opts.MaxDelay = positive(opts.MaxDelay, DefaultMaxDelay)
	opts.Poll = positive(opts.Poll, DefaultPoll)
	w := &Watcher{opts: opts.readable(), updates: make(chan Update), reload: make(chan struct{}, 1), degraded: degraded}
	w.done.Go(func() { w.run(ctx, h) })
	return w
}

func positive(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// Updates delivers what was read, the newest only: a reading that nobody took
// yet is replaced by the next. It is never closed: the zero Update would look like
// an empty file to a receiver that is just about to end.
func (w *Watcher) Updates() <-chan Update { return w.updates }

// Reload reads at once and delivers whatever is there, changed or not. It does
// not block; calls that come before the reading share it.
func (w *Watcher) Reload() {
	select {
	case w.reload <- struct{}{}:
	default:
	}
}

// Degraded is why changes are only found by polling, or nil.
func (w *Watcher) Degraded() error { return w.degraded }

// Wait returns once the watcher has ended and holds nothing any more.
func (w *Watcher) Wait() { w.done.Wait() }

func (w *Watcher) run(ctx context.Context, h hinter) {
	defer h.close()

	poll := time.NewTicker(w.opts.Poll)
	defer poll.Stop()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()

	last := reading{data: w.opts.Last, named: w.opts.LastNamed, taken: w.opts.Last != nil}
	var (
		followed []string // the named files that h knows
		calm     calm
		next     Update
		waiting  bool // next was not taken yet
	)
	hint := func() {
		now := time.Now()
		quiet.Reset(calm.hint(now, w.opts.Debounce, w.opts.MaxDelay).Sub(now))
	}
	read := func(source Source) {
		calm = zero
		quiet.Stop()
		h.rearm(true) // before reading: what changes afterwards gives a hint
		now := w.opts.read()
		if !slices.Equal(now.names, followed) {
			// The bytes tell only now what else is to be watched, and what was read
			// of that may have changed before anybody looked.
			followed = now.names
			h.follow(followed)
			h.rearm(true)
			now = w.opts.read()
		}
		if source == Changed && now.same(last) {
			return
		}
		if waiting && next.Source == Reloaded {
			source = Reloaded // somebody still waits for the answer to that
		}
		last, waiting = now, true
		next = now.update(source)
	}

	hint() // between the caller's reading and now the file may have changed
	for {
		out := w.updates
		if !waiting {
			out = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-h.hints():
			hint()
		case <-poll.C:
			// A poll may meet the file half-written or just removed: it is a hint
			// like any other.
			h.rearm(false)
			if calm == zero && !w.opts.read().same(last) {
				hint()
			}
		case <-quiet.C:
			read(Changed)
		case <-w.reload:
			read(Reloaded)
		case out <- next:
			next, waiting = Update{}, false
		}
	}
}

// calm is how long hints have been coming; its zero value is that there are
// none.
type calm struct{ first time.Time }

var zero calm

// hint is when to read, now that another hint came.
func (c *calm) hint(now time.Time, debounce, limit time.Duration) time.Time {
	if c.first.IsZero() {
		c.first = now
	}
	due := now.Add(debounce)
	if last := c.first.Add(limit); due.After(last) {
		return last
	}
	return due
}

// silent gives no hints.
type silent struct{}

func (silent) hints() <-chan struct{} { return nil }
func (silent) rearm(bool)             {}
func (silent) follow([]string)        {}
func (silent) close()                 {}

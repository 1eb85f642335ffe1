// SPDX-License-Identifier: Apache-2.0

// Package watch delivers the bytes of one file whenever they change, however
// they change: written in place, renamed over, removed and made again, behind a
// symbolic link that moves, in a folder that is replaced, or on a file system
// that sends no events.
//
// No event is believed. It only hints that the file is worth reading once
// things are quiet; what counts is whether the bytes read then differ from
// those read last. A slow poll gives the same hint where events fail.
package watch

import (
	"bytes"
	"context"
	"sync"
	"time"

	"plumbline/relay/config"
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
// Data is the receiver's.
type Update struct {
	Data   []byte
	Err    error
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
}

// Watcher watches one file until its context ends.
type Watcher struct {
	opts     Options
	updates  chan Update
	reload   chan struct{}
	degraded error
	done     sync.WaitGroup
}

// hinter tells that the file may have changed.
type hinter interface {
	// hints are coalesced: one may stand for many.
	hints() <-chan struct{}
	// rearm follows the path anew, to the folders that it leads through now.
	// all watches them again even if they look the same.
	rearm(all bool)
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
	if opts.Read == nil {
		opts.Read = config.ReadFile
	}
	w := &Watcher{opts: opts, updates: make(chan Update), reload: make(chan struct{}, 1), degraded: degraded}
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

	last := reading{data: w.opts.Last, taken: w.opts.Last != nil}
	var (
		calm    calm
		next    Update
		waiting bool // next was not taken yet
	)
	hint := func() {
		now := time.Now()
		quiet.Reset(calm.hint(now, w.opts.Debounce, w.opts.MaxDelay).Sub(now))
	}
	read := func(source Source) {
		calm = zero
		quiet.Stop()
		h.rearm(true) // before reading: what changes afterwards gives a hint
		now := w.read()
		if source == Changed && now.same(last) {
			return
		}
		if waiting && next.Source == Reloaded {
			source = Reloaded // somebody still waits for the answer to that
		}
		last, waiting = now, true
		next = Update{Data: bytes.Clone(now.data), Err: now.err, Source: source}
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
			if calm == zero && !w.read().same(last) {
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

func (w *Watcher) read() reading {
	data, err := w.opts.Read(w.opts.Path)
	if err != nil {
		data = nil
	}
	return reading{data: data, err: err, taken: true}
}

// reading is what was found at the path, good or bad.
type reading struct {
	data  []byte
	err   error
	taken bool // false: nothing was read yet
}

// same tells whether nothing needs to be said: an error that stays is said once.
func (r reading) same(o reading) bool {
	switch {
	case !r.taken || !o.taken:
		return r.taken == o.taken
	case r.err != nil && o.err != nil:
		return r.err.Error() == o.err.Error()
	case r.err != nil || o.err != nil:
		return false
	}
	return bytes.Equal(r.data, o.data)
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
func (silent) close()                 {}

// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxLine bounds a line in bytes, newline included. Log stores and readers
	// size their buffers by it.
	maxLine = 64 << 10
	// MinMaxSize is the least size in bytes after which a file is rotated.
	MinMaxSize = 16 << 10

	defaultMaxSize    = 100 << 20
	defaultQueueBytes = 8 << 20
	defaultQueueLines = 32 << 10

	// flushEvery is how long a line below WARN may wait for company; with the
	// write itself it is in the file well within 100 ms.
	flushEvery = 50 * time.Millisecond
	// retryEvery is how often a file that can't be written is tried again, and
	// how often an idle writer looks after its file.
	retryEvery = time.Second
	// closeWithin bounds Close when the disk hangs.
	closeWithin = 5 * time.Second
)

// Settings are what may change while the writer runs.
type Settings struct {
	// Severity is the least severity of diagnostics and of the console. Events
	// of the catalogue go to the file whatever it is, see Writer.
	Severity Severity
	// MaxSize rotates a file before it grows past this many bytes, checkpoints
	// not counted. 0: 100 MiB; less than MinMaxSize is taken as MinMaxSize.
	MaxSize int64
	// MaxAge rotates a file this long after it was opened. 0: never.
	MaxAge time.Duration
	// Keep is how many rotated files stay. 0: all.
	Keep int
	// Compress rotated files: "none" or "", "zstd", "gzip".
	Compress string
	// Console shows events on WriterOptions.Console.
	Console bool
}

// WriterOptions are fixed for a writer's life, but for the Settings in them.
type WriterOptions struct {
	Settings

	Dir     string // made if it is not there
	Relay   string // the instance's name, on every line
	Run     string // see NewRun; "" makes one
	Version string // of the program, for log.opened

	// ConsoleOut takes the console's lines, usually os.Stderr; nil: no console
	// whatever Settings.Console says. A writer that blocks delays nobody.
	ConsoleOut io.Writer
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// OnCheckpoint asks for checkpoint.* events: "file" after each log.opened,
	// "hole" after each log.dropped. It is called on a goroutine of its own, one
	// call at a time; requests that come during a call are merged into one. It
	// may block, log, or just pass the word on.
	OnCheckpoint func(reason string)

	// QueueBytes and QueueLines bound what waits to be written; twice as much
	// is held while the disk does not answer. 0: 8 MiB and 32,768 lines.
	QueueBytes, QueueLines int

	fs fileSystem // tests put faults here
}

// Writer is the Sink that keeps the log on disk.
//
// Log never waits for the disk: it encodes the event, takes its time and place
// under one lock, and leaves the line in a bounded queue. A goroutine gives the
// lines their sequence numbers and writes them.
//
// What is filtered: the log is the state, so an event of the catalogue is
// written whatever Settings.Severity says; a log that left out INFO could not be
// replayed. Below that severity go only diagnostics (and any event of severity
// DEBUG), which then take no seq, and lines of the console.
//
// What happens on a fault: service is never refused for the log's sake. Lines
// wait in memory until the queue is full and are counted after that; the file is
// tried once a second; then log.dropped says what is missing and why, and
// OnCheckpoint("hole") closes the gap in the replayed state. Status tells of the
// fault meanwhile, and the console shows it.
type Writer struct {
	opt      WriterOptions
	settings atomic.Pointer[Settings]
	enc      encoder
	fixed    string // the header's part that never changes
	scratch  sync.Pool
	console  *console
	asks     checkpointer
	janitor  *janitor

	mu       sync.Mutex // held for the time of a copy
	fill     *batch
	lastTime int64
	fault    string // why the file can't be written
	closed   bool
	status   Status

	first    chan struct{} // the queue is not empty any more
	urgent   chan struct{} // WARN or above, or half full
	requests chan func()   // run by the writer goroutine
	done     chan struct{}

	output // the writer goroutine's own
}

// Status is the writer's state at a glance.
type Status struct {
	Run     string
	Seq     uint64 // last one in the file
	File    string // the live file's final name; "" when there is none
	Size    int64  // its bytes
	Dropped uint64 // events lost so far
	// Fault is why the log can't be written now; nil when it can.
	Fault      error
	FaultSince time.Time
}

// NewWriter opens the log. It fails with ErrInUse when another process writes to
// the folder, and for options that make no sense. A folder that can't be
// written is no error: the relay has to serve without it, so the writer starts
// with Status().Fault set, says so on the console, and keeps trying.
func NewWriter(opt WriterOptions) (*Writer, error) {
	if opt.Dir == "" {
		return nil, errors.New("open the log: no folder given; set logs.dir")
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Run == "" {
		opt.Run = NewRun(opt.Now())
	}
	if opt.QueueBytes <= 0 {
		opt.QueueBytes = defaultQueueBytes
	}
	if opt.QueueLines <= 0 {
		opt.QueueLines = defaultQueueLines
	}
	if opt.fs == nil {
		opt.fs = disk{}
	}
	w := &Writer{
		opt:      opt,
		console:  newConsole(opt.ConsoleOut),
		fill:     &batch{},
		first:    make(chan struct{}, 1),
		urgent:   make(chan struct{}, 1),
		requests: make(chan func()),
		done:     make(chan struct{}),
	}
	w.scratch.New = func() any { return new(scratch) }
	w.status.Run = opt.Run
	w.fixed = `,"relay":` + string(appendString(nil, opt.Relay)) + `,"run":` + string(appendString(nil, opt.Run)) + `,"seq":`
	if err := w.set(opt.Settings); err != nil {
		return nil, err
	}
	w.janitor = newJanitor(w)
	w.asks.call = opt.OnCheckpoint
	w.work = &batch{}

	w.take()
	if err := w.open(); errors.Is(err, ErrInUse) {
		w.console.close()
		w.janitor.close()
		return nil, fmt.Errorf("open the log: %w", err)
	}
	w.drain() // any other fault shows again here, and is handled
	go w.loop()
	return w, nil
}

// Reconfigure puts new settings in force, for the lines after this call and for
// the file that is open.
func (w *Writer) Reconfigure(s Settings) error {
	if err := w.set(s); err != nil {
		return err
	}
	w.janitor.poke()
	return nil
}

func (w *Writer) set(s Settings) error {
	switch s.Compress {
	case "", "none", "zstd", "gzip":
	default:
		return fmt.Errorf("log settings: compress %q is not known; use none, zstd or gzip", s.Compress)
	}
	if s.MaxSize <= 0 {
		s.MaxSize = defaultMaxSize
	}
	s.MaxSize = max(s.MaxSize, MinMaxSize)
	w.settings.Store(&s)
	return nil
}

// Status is the writer's state now.
func (w *Writer) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// Busy says that more than half of the queue is taken. A checkpoint waits while
// it is: the events of the moment come first.
func (w *Writer) Busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.halfFull()
}

func (w *Writer) halfFull() bool {
	return 2*len(w.fill.buf) > w.opt.QueueBytes || 2*len(w.fill.lines) > w.opt.QueueLines
}

// Flush writes what was logged before the call, trying again a file that could
// not be written, and returns the fault if there still is one.
func (w *Writer) Flush() error {
	var err error
	if !w.do(func() { w.drain(); err = w.err }) {
		return errors.New("flush the log: it is closed")
	}
	return err
}

// Rotate ends the live file, for the reason that log.closed then gives (such as
// "signal"), and begins the next.
func (w *Writer) Rotate(reason string) error {
	var err error
	if !w.do(func() { w.rotateFor = reason; w.drain(); err = w.err }) {
		return errors.New("rotate the log: it is closed")
	}
	return err
}

// do runs f on the writer goroutine.
func (w *Writer) do(f func()) bool {
	ran := make(chan struct{})
	select {
	case w.requests <- func() { f(); close(ran) }:
		<-ran
		return true
	case <-w.done:
		return false
	}
}

// Close writes what is queued and log.closed with the reason, and ends the
// writer. Events that come later are lost. The error says what could not be
// written.
func (w *Writer) Close(reason string) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	w.mu.Unlock()

	result := make(chan error, 1)
	go func() {
		var err error
		w.do(func() { err = w.finish(reason); w.stop = true })
		<-w.done
		result <- err
	}()
	deadline := time.NewTimer(closeWithin)
	defer deadline.Stop()
	var err error
	select {
	case err = <-result:
	case <-deadline.C:
		err = fmt.Errorf("close the log in %s: the disk did not answer in %s", w.opt.Dir, closeWithin)
	}
	w.asks.close()
	w.janitor.close()
	select {
	case <-w.done:
		w.unlock() // last: until here nobody else may touch the folder
	default:
	}
	w.console.close()
	return err
}

// loop is the writer goroutine.
func (w *Writer) loop() {
	defer close(w.done)
	flush := time.NewTimer(flushEvery)
	flush.Stop()
	look := time.NewTicker(retryEvery)
	defer look.Stop()
	for !w.stop {
		select {
		case <-w.first:
			flush.Reset(flushEvery)
		case <-w.urgent:
			w.attempt()
		case <-flush.C:
			w.attempt()
		case <-look.C:
			w.drain()
		case f := <-w.requests:
			f()
		}
	}
}

// attempt writes, unless the file is known to be in trouble: then it is tried at
// the pace of the ticker and not at that of the events.
func (w *Writer) attempt() {
	if w.err == nil {
		w.drain()
	}
}

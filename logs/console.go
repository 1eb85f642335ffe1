// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/sys/unix"
)

const (
	consoleQueue = 512
	// consoleWithin bounds how long Close waits for a console that is stuck.
	consoleWithin = 500 * time.Millisecond
)

// console shows events to a person, on a goroutine of its own: a terminal that
// was stopped with ^S, or a pipe that nobody reads, must not hold up the file.
// What it can't take is counted and said.
type console struct {
	handler slog.Handler
	lines   chan slog.Record
	lost    atomic.Uint64
	stop    chan struct{}
	ended   chan struct{}
	once    sync.Once
}

func newConsole(out io.Writer) *console {
	if out == nil {
		return nil
	}
	c := &console{
		handler: tint.NewTextHandler(out, &tint.Options{
			Level:      slog.LevelDebug, // the writer has filtered already
			TimeFormat: "15:04:05.000",
			NoColor:    !colored(out),
		}),
		lines: make(chan slog.Record, consoleQueue),
		stop:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	go c.run()
	return c
}

// colored honours NO_COLOR (https://no-color.org) and writes colours only to a
// terminal that knows them.
func colored(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// routine events say again what a person on the console knows: they are for
// replaying and for sums. The console shows them at severity debug.
func routine(ev Event) bool {
	switch e := ev.(type) {
	case CheckpointStarted, CheckpointAllocation, CheckpointFinished:
		return true
	case RouteDecision:
		return e.Change == "summary"
	case DatapathCounters:
		return !e.Final
	}
	return false
}

// show takes the line at once or counts it as lost. Times are in UTC, as in the
// file, so that both can be laid side by side.
func (c *console) show(at time.Time, e encoded) {
	if c == nil {
		return
	}
	r := slog.NewRecord(at.UTC(), e.severity.Level(), e.message, 0)
	if e.name != (Diagnostic{}).Name() {
		r.AddAttrs(slog.String("event", e.name))
	}
	select {
	case c.lines <- r:
	default:
		c.lost.Add(1)
	}
}

func (c *console) run() {
	defer close(c.ended)
	for {
		select {
		case r := <-c.lines:
			c.write(r)
		case <-c.stop:
			for {
				select {
				case r := <-c.lines:
					c.write(r)
				default:
					return
				}
			}
		}
	}
}

func (c *console) write(r slog.Record) {
	if n := c.lost.Swap(0); n > 0 {
		gap := slog.NewRecord(r.Time, slog.LevelWarn, count(int(n), "line")+" not shown: the console did not keep up; the log file has them", 0)
		_ = c.handler.Handle(context.Background(), gap)
	}
	// A console that is gone is no reason to do anything: the file is the log.
	_ = c.handler.Handle(context.Background(), r)
}

func (c *console) close() {
	if c == nil {
		return
	}
	c.once.Do(func() { close(c.stop) })
	select {
	case <-c.ended:
	case <-time.After(consoleWithin):
	}
}

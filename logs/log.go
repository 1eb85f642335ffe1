// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"fmt"
	"time"
)

// scratch is where one Log call encodes.
type scratch struct{ head, tail []byte }

// encoded is one event ready for the queue.
type encoded struct {
	head, tail []byte
	kind       lineKind
	severity   Severity
	message    string
	name       string
}

// size bounds the line's bytes: head and tail, `{"time":"…` before them and the
// digits of seq between them.
func (e encoded) size() int {
	return len(`{"time":"`) + len(timeLayout) + len(e.head) + 20 + len(e.tail)
}

// encode lays an event out in s, but for time and seq.
func (w *Writer) encode(s *scratch, ev Event) encoded {
	e := encoded{severity: ev.Severity(), message: printable(ev.Message()), name: ev.Name(), kind: kindOf(ev)}
	if e.message == "" {
		e.message = e.name
	}
	b := append(s.head[:0], `","severity":"`...)
	b = append(append(b, e.severity.String()...), `","message":`...)
	b = append(appendString(b, e.message), `,"event":`...)
	s.head = append(appendString(b, e.name), w.fixed...)
	s.tail = append(w.enc.appendFields(s.tail[:0], ev), '}', '\n')
	e.head, e.tail = s.head, s.tail
	return e
}

func kindOf(ev Event) lineKind {
	switch ev.(type) {
	case CheckpointStarted, *CheckpointStarted:
		return checkpointStart
	case CheckpointAllocation, *CheckpointAllocation:
		return checkpointBody
	case CheckpointFinished, *CheckpointFinished:
		return checkpointEnd
	}
	return plainLine
}

// wanted applies Settings.Severity to the file.
func wanted(ev Event, least Severity) bool {
	s := ev.Severity()
	if s >= least {
		return true
	}
	switch ev.(type) {
	case Diagnostic, *Diagnostic:
		return false
	}
	return s > Debug
}

// Log puts one event in the log. It never blocks on disk or console and may be
// called from any goroutine, in OnCheckpoint too. The event is not kept: what it
// points to may change once Log has returned.
func (w *Writer) Log(ev Event) {
	settings := w.settings.Load()
	file := wanted(ev, settings.Severity)
	screen := settings.Console && ev.Severity() >= settings.Severity && (settings.Severity == Debug || !routine(ev))
	if !file && !screen {
		return
	}
	s := w.scratch.Get().(*scratch)
	defer w.scratch.Put(s)
	e := w.encode(s, ev)
	at := int64(0)
	switch {
	case !file:
		at = w.opt.Now().UnixNano()
	case e.size() < maxLine:
		at = w.enqueue(e)
	default:
		parts := split(ev)
		if parts != nil {
			w.logParts(parts)
			return
		}
		e = w.encode(s, tooLong(e))
		at = w.enqueue(e)
	}
	if screen {
		w.console.show(time.Unix(0, at), e)
	}
}

func tooLong(e encoded) Event {
	return Diagnostic{Level: Error, Text: fmt.Sprintf("an event %s was left out: its line of %d bytes would pass the limit of %d; it said: %s",
		e.name, e.size(), maxLine, e.message)}
}

// logParts logs a checkpointed allocation in several lines.
func (w *Writer) logParts(parts []Event) {
	for _, p := range parts {
		w.Log(p)
	}
}

// split halves a checkpointed allocation until each part fits a line; nil for
// any other event and for one that can't be halved.
func split(ev Event) []Event {
	var a CheckpointAllocation
	switch v := ev.(type) {
	case CheckpointAllocation:
		a = v
	case *CheckpointAllocation:
		a = *v
	default:
		return nil
	}
	if len(a.Permissions) <= 1 && len(a.Channels) <= 1 && len(a.Routes) <= 1 {
		return nil
	}
	x, y := a, a
	p, c, r := len(a.Permissions)/2, len(a.Channels)/2, len(a.Routes)/2
	x.Permissions, y.Permissions = a.Permissions[:p], a.Permissions[p:]
	x.Channels, y.Channels = a.Channels[:c], a.Channels[c:]
	x.Routes, y.Routes = a.Routes[:r], a.Routes[r:]
	return []Event{x, y}
}

// enqueue gives the line its time and its place, both under one lock.
func (w *Writer) enqueue(e encoded) (at int64) {
	w.mu.Lock()
	if w.closed {
		defer w.mu.Unlock()
		w.status.Dropped++
		return w.opt.Now().UnixNano()
	}
	wasEmpty := w.fill.empty()
	at = w.stamp()
	w.push(at, e)
	urgent := e.severity >= Warn || w.halfFull()
	w.mu.Unlock()
	if urgent {
		signal(w.urgent)
	} else if wasEmpty {
		signal(w.first)
	}
	return at
}

// push queues a line, or counts it when the queue is full. The caller holds the
// lock.
func (w *Writer) push(at int64, e encoded) {
	if !w.fill.full(len(e.head)+len(e.tail), w.opt.QueueBytes, w.opt.QueueLines) {
		w.fill.add(at, e.kind, e.head, e.tail)
		return
	}
	if w.fill.hole == 0 {
		w.fill.reason = "queue_full"
		if w.fault != "" {
			w.fill.reason = "write_error: " + w.fault
		}
	}
	w.fill.hole++
	w.status.Dropped++
}

// stamp is the time of the next line. When the clock stepped back, the log says
// so before the first line that seems older than the one before it: the order of
// seq is the order of events, the order of time is the clock's. The caller holds
// the lock.
func (w *Writer) stamp() int64 {
	at := w.opt.Now().UnixNano()
	if back := time.Duration(w.lastTime - at); back > 0 {
		note := w.encode(new(scratch), Diagnostic{Level: Warn,
			Text: fmt.Sprintf("the clock stepped back by %s; lines stand in the order of seq", back)})
		w.push(at, note)
	}
	w.lastTime = at
	return at
}

// signal wakes the writer goroutine; one signal waiting is as good as many.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

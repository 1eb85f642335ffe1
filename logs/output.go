// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"os"
	"time"
)

// chunkBytes is about how much one write carries.
const chunkBytes = 256 << 10

// output is what only the writer goroutine touches.
//
// Three things wait to be written, in this order: log.opened of a file that was
// just made, the writer's own notes, and the batch taken from the queue with the
// hole at its end. Each is forgotten only once its line is whole in the file, so
// a fault at any byte loses nothing that memory can hold.
type output struct {
	opened     *Opened
	openedLine int64 // its time, from which the file has its name
	notes      []Event
	work       *batch

	file      logFile // nil: none is open
	lock      *os.File
	name      string    // the open file's final name
	openedAt  time.Time // in that name; the next name comes after it
	created   time.Time // by the clock, for MaxAge
	previous  string    // the file before it
	size      int64
	counted   int64 // size without checkpoints
	lines     int64
	firstSeq  uint64
	seq       uint64 // last one in any file
	closing   string // why, while renamed
	renamed   bool   // rotation has begun: log.closed is owed
	next      string // final name of the file after this one, while renamed
	nextAt    time.Time
	rotateFor string // a rotation that was asked for
	scanned   bool   // openedAt and previous know what earlier runs left
	recovered int64  // bytes that were cut off what stood in the way of the next file
	limit     int64  // bytes of a torn file that are known to be good; 0: not known
	held      bool   // the last rotation failed; say so once
	shown     checkpointState

	err      error // the fault, nil when the file is written
	errSince time.Time
	stop     bool

	out    []byte
	laid   []unit
	second int64  // whose text is in prefix
	prefix []byte // `{"time":"2026-11-24T03:22:12.`
}

// checkpointState is how far the open file's checkpoint has come. A file is not
// rotated while its checkpoint is under way, so that each file holds a whole
// one.
type checkpointState uint8

const (
	checkpointDone checkpointState = iota
	checkpointAsked
	checkpointRunning
)

// unit is one line in the chunk and what its arrival in the file settles.
type unit struct {
	end   int // in the chunk
	seqs  uint64
	what  source
	kind  lineKind
	bytes int // of the batch's buffer
}

type source uint8

const (
	fromOpened source = iota
	fromNotes
	fromBatch
	fromHole
	fromClosed
)

// take swaps the halves of the queue once the one at work is done.
func (w *Writer) take() (more bool) {
	if !w.work.empty() {
		return true
	}
	w.work.reset()
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.stamp() // may add a line
	if w.fill.empty() {
		w.work.taken = taken
		return false
	}
	w.work, w.fill = w.fill, w.work
	w.work.taken = taken
	return true
}

// moment is the time for a line of the writer's own: that of the queued line
// which it will stand before, so that times follow seq.
func (w *Writer) moment() int64 {
	if w.work.next < len(w.work.lines) {
		return w.work.lines[w.work.next].at
	}
	return w.work.taken
}

// drain writes all that waits, as far as the disk lets it, and keeps count of
// the fault.
func (w *Writer) drain() {
	err := w.writeAll()
	if err == nil && w.err != nil {
		w.note(Diagnostic{Level: Warn, Text: "the log could be written again after " +
			w.opt.Now().Sub(w.errSince).Round(time.Millisecond).String(), Error: w.err.Error()})
		err = w.writeAll()
	}
	if err != nil && w.err == nil {
		w.errSince = w.opt.Now()
		w.tell(Diagnostic{Level: Error, Text: "the log in " + w.opt.Dir +
			" can't be written; the relay goes on without it and tries again every second", Error: err.Error()})
	}
	w.err = err

	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = ""
	if err != nil {
		w.fault = err.Error()
	}
	w.status.Seq, w.status.Size, w.status.File = w.seq, w.size, w.name
	if w.file == nil {
		w.status.File, w.status.Size = "", 0
	}
	w.status.Fault, w.status.FaultSince = err, w.errSince
	if err == nil {
		w.status.FaultSince = time.Time{}
	}
}

// note queues an event of the writer's own, before all that waits.
func (w *Writer) note(ev Event) {
	w.notes = append(w.notes, ev)
	w.tell(ev)
}

// tell shows an event of the writer's own on the console.
func (w *Writer) tell(ev Event) {
	if s := w.settings.Load(); s.Console && ev.Severity() >= s.Severity {
		w.console.show(w.opt.Now(), w.encode(new(scratch), ev))
	}
}

// writeAll writes what was queued before the call. It takes the queue at most
// twice: a batch that a fault held back, and what came in since.
func (w *Writer) writeAll() error {
	w.take()
	w.inspect()
	for range 2 {
		if err := w.writeBatch(); err != nil {
			return err
		}
		if !w.take() {
			return nil
		}
	}
	return w.writeBatch()
}

// writeBatch writes what is owed and the batch at work.
func (w *Writer) writeBatch() error {
	if w.err == nil && w.ageDue() {
		w.rotateFor = "age"
	}
	for {
		if w.renamed {
			if err := w.endFile(); err != nil {
				return err
			}
		}
		if w.file == nil {
			if err := w.open(); err != nil {
				return err
			}
		}
		full := w.layout()
		if len(w.laid) > 0 {
			if err := w.write(); err != nil {
				return err
			}
		}
		reason := w.rotateFor
		if full {
			reason = "size"
		}
		switch {
		case reason != "" && w.opened == nil:
			w.rotateFor = ""
			if err := w.rotate(reason); err != nil {
				return err
			}
		case w.opened == nil && len(w.notes) == 0 && w.work.empty():
			return nil
		}
	}
}

func (w *Writer) ageDue() bool {
	age := w.settings.Load().MaxAge
	return age > 0 && w.file != nil && w.lines > 0 && w.opt.Now().Sub(w.created) >= age
}

// layout fills the chunk with the lines that come next. full says that the file
// has to be rotated before the next one.
func (w *Writer) layout() (full bool) {
	w.out, w.laid = w.out[:0], w.laid[:0]
	seq, counted := w.seq, w.counted
	s := new(scratch)
	if w.opened != nil {
		seq = w.own(s, *w.opened, w.openedLine, seq, unit{what: fromOpened, seqs: 1})
	}
	for _, n := range w.notes {
		seq = w.own(s, n, w.moment(), seq, unit{what: fromNotes, seqs: 1})
	}
	counted += int64(len(w.out))

	b := w.work
	off := b.off
	for i := b.next; i < len(b.lines); i++ {
		if len(w.out) > chunkBytes {
			return false
		}
		l := b.lines[i]
		if !l.kind.checkpoint() && w.tooBig(counted+int64(l.bytes())) {
			return true
		}
		from := len(w.out)
		seq++
		w.line(l.at, seq, b.buf[off:off+int(l.head)], b.buf[off+int(l.head):off+l.bytes()])
		off += l.bytes()
		w.laid = append(w.laid, unit{end: len(w.out), seqs: 1, what: fromBatch, kind: l.kind, bytes: l.bytes()})
		if !l.kind.checkpoint() {
			counted += int64(len(w.out) - from)
		}
	}
	if b.hole > 0 {
		e := w.encode(s, w.dropped(seq))
		w.line(b.taken, seq+b.hole+1, e.head, e.tail)
		w.laid = append(w.laid, unit{end: len(w.out), seqs: b.hole + 1, what: fromHole})
	}
	return false
}

// dropped explains the hole at the end of the batch, whose last line has seq.
func (w *Writer) dropped(seq uint64) Dropped {
	return Dropped{Count: w.work.hole, FirstSeq: seq + 1, LastSeq: seq + w.work.hole, Reason: w.work.reason}
}

// own lays out a line of the writer's own.
func (w *Writer) own(s *scratch, ev Event, at int64, seq uint64, u unit) uint64 {
	e := w.encode(s, ev)
	seq += u.seqs
	w.line(at, seq, e.head, e.tail)
	u.end = len(w.out)
	w.laid = append(w.laid, u)
	return seq
}

// reserve is room for log.closed, and for what a line gets besides the bytes that
// were queued, so that a whole file stays within MaxSize.
func (w *Writer) reserve() int64 { return int64(450 + len(w.fixed)) }

// tooBig says whether the file must be rotated before it gets as big as that.
// While its checkpoint is under way it may grow to twice its size: a core that
// is slow to answer, or never does, must not keep a file growing for ever.
func (w *Writer) tooBig(counted int64) bool {
	limit := w.settings.Load().MaxSize
	if w.shown != checkpointDone || w.held {
		limit *= 2
	}
	if w.counted == 0 && len(w.laid) == 0 || w.lines+int64(len(w.laid)) <= 1 {
		return false // a file holds at least one line besides log.opened
	}
	return counted+w.reserve() > limit
}

// write puts the chunk into the file and settles the lines that arrived whole.
func (w *Writer) write() error {
	n, err := w.file.Write(w.out)
	if err == nil && n < len(w.out) {
		err = errShortWrite
	}
	kept := 0
	for _, u := range w.laid {
		if u.end > n {
			break
		}
		w.settle(u, u.end-kept)
		kept = u.end
	}
	w.laid = w.laid[:0]
	if err == nil {
		return nil
	}
	w.salvage(err, n > kept)
	return err
}

// settle notes that a line is whole in the file.
func (w *Writer) settle(u unit, size int) {
	w.seq += u.seqs
	w.size += int64(size)
	w.lines++
	if !u.kind.checkpoint() {
		w.counted += int64(size)
	}
	switch u.what {
	case fromOpened:
		w.opened = nil
		w.asks.ask("file")
	case fromNotes:
		w.notes = w.notes[1:]
	case fromBatch:
		w.work.next++
		w.work.off += u.bytes
	case fromHole:
		w.tell(w.dropped(w.seq - u.seqs))
		w.work.hole = 0
		w.asks.ask("hole")
	}
	switch u.kind {
	case checkpointStart:
		w.shown = checkpointRunning
	case checkpointEnd:
		if w.shown == checkpointRunning {
			w.shown = checkpointDone
		}
	}
}

// line lays out one line.
func (w *Writer) line(at int64, seq uint64, head, tail []byte) {
	w.out = w.appendTime(w.out, at)
	w.out = append(w.out, head...)
	w.out = appendUint(w.out, seq)
	w.out = append(w.out, tail...)
}

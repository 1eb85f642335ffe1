// SPDX-License-Identifier: Apache-2.0

package logs

// A line waits in the queue without its time and its sequence number laid out:
// the writer goroutine adds both as it fills the file. That is what lets it put
// log.opened, log.closed and log.dropped exactly where they belong, with their
// own numbers, while the order in the file stays the order of Log calls.
type line struct {
	at   int64 // Unix nanoseconds, taken under the queue's lock
	head int32 // bytes from severity up to the seq key
	tail int32 // bytes after the seq's digits, newline included
	kind lineKind
}

func (l line) bytes() int { return int(l.head) + int(l.tail) }

// lineKind says what a line means to the writer.
type lineKind uint8

const (
	plainLine lineKind = iota
	checkpointStart
	checkpointBody
	checkpointEnd
)

func (k lineKind) checkpoint() bool { return k != plainLine }

// batch is one half of the double buffer: producers fill one while the writer
// empties the other.
type batch struct {
	buf   []byte
	lines []line
	// hole counts the events that found the batch full. Once there is one,
	// everything until the next swap joins it: a hole is one range of seqs
	// and stands after the batch's last line.
	hole   uint64
	reason string
	taken  int64 // when the writer took the batch, Unix nanoseconds

	next int // first line that is not in the file yet
	off  int // where it begins in buf
}

func (b *batch) empty() bool { return b.next == len(b.lines) && b.hole == 0 }

func (b *batch) reset() {
	b.buf, b.lines = b.buf[:0], b.lines[:0]
	b.hole, b.reason, b.taken, b.next, b.off = 0, "", 0, 0, 0
}

// add appends a line that was encoded as head and tail.
func (b *batch) add(at int64, kind lineKind, head, tail []byte) {
	b.buf = append(append(b.buf, head...), tail...)
	b.lines = append(b.lines, line{at: at, head: int32(len(head)), tail: int32(len(tail)), kind: kind})
}

// full says whether one more line of n bytes would pass the bounds.
func (b *batch) full(n, maxBytes, maxLines int) bool {
	return b.hole > 0 || len(b.buf)+n > maxBytes || len(b.lines) >= maxLines
}

// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
)

// stream is one source as the merge sees it: its next line, and where more
// come from.
type stream struct {
	src  *source
	rank int   // its place among the inputs, to break ties
	head *Line // never nil once peeked; without a Run where nothing is known
	open bool

	lines []Line
	next  int
	block *block
	queue chan *block
	quit  chan struct{}
}

// readAhead is how many blocks wait between the goroutine that reads and scans
// a file and the one that merges: two, so that both always have work.
const readAhead = 2

// peek learns the first line of a file and leaves it closed, so that a folder
// of a thousand files needs neither a thousand descriptors nor their buffers.
func (s *stream) peek(runs *runs) {
	s.head = &Line{Time: math.MinInt64}
	if s.src.path == "-" {
		return
	}
	in, done, err := s.src.open()
	defer done()
	if err != nil {
		return // start will meet it again, and say so
	}
	split := splitter{file: s.src.file, in: in, scan: scanner{runs: runs}, size: peekSize}
	for range peekSize / (4 << 10) { // decompressors give little at a time
		b, more := split.next()
		if len(b.lines) > 0 {
			l := b.lines[0]
			s.head = &Line{Time: l.Time, Seq: l.Seq, Run: l.Run, Clock: bytes.Clone(l.Clock)}
			more = false
		}
		blocks.Put(b)
		if !more {
			break
		}
	}
	s.src.read.Store(0)
}

// start opens the file and begins to read it in a goroutine of its own.
func (s *stream) start(runs *runs) error {
	s.open = true
	s.queue, s.quit = make(chan *block, readAhead), make(chan struct{})
	open := s.src.open
	if s.src.follow {
		open = func() (io.Reader, func(), error) { return s.src.followFrom(s.quit) }
	}
	in, done, err := open()
	if err != nil {
		done()
		return err
	}
	go func() {
		defer close(s.queue)
		for {
			ok := s.split(in, runs)
			done()
			if !ok || !s.src.follow {
				return
			}
			// The file was rotated: another is in its place.
			if in, done, err = open(); err != nil {
				b := blocks.Get().(*block)
				*b = block{err: fmt.Errorf("follow %s: %w", s.src.file.Name, err)}
				s.send(b)
				return
			}
		}
	}()
	return nil
}

// split sends a file's blocks to its end; false if nobody wants them any more.
func (s *stream) split(in io.Reader, runs *runs) bool {
	split := splitter{file: s.src.file, in: in, scan: scanner{runs: runs}, size: blockSize}
	for more := true; more; {
		var b *block
		if b, more = split.next(); !s.send(b) {
			return false
		}
	}
	select {
	case <-s.quit:
		return false
	default:
		return true
	}
}

func (s *stream) send(b *block) bool {
	select {
	case s.queue <- b:
		return true
	case <-s.quit:
		return false
	}
}

// nextBlock gives back the block in use and takes the next one, nil at the end.
func (s *stream) nextBlock(idle func()) *block {
	if s.block != nil {
		blocks.Put(s.block)
	}
	s.lines, s.next = nil, 0
	select {
	case s.block = <-s.queue:
	default:
		if idle != nil {
			idle()
		}
		s.block = <-s.queue
	}
	if s.block != nil {
		s.lines = s.block.lines
	}
	return s.block
}

func (s *stream) stop() {
	if s.quit != nil {
		close(s.quit)
	}
}

// streamHeap orders the streams of one run by the sequence number that is next.
type streamHeap []*stream

func (h streamHeap) Len() int      { return len(h) }
func (h streamHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *streamHeap) Push(x any)   { *h = append(*h, x.(*stream)) }
func (h *streamHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	*h = old[:len(old)-1]
	return s
}
func (h streamHeap) Less(i, j int) bool {
	if h[i].head.Seq != h[j].head.Seq {
		return h[i].head.Seq < h[j].head.Seq
	}
	return h[i].rank < h[j].rank
}

// group is the streams whose next line belongs to one run.
type group struct {
	run     *Run
	streams streamHeap
	at      int // index in the heap of groups, -1 outside
}

// due is when the run's next line is due. After a clock was set back, the lines
// of the time that it repeats are due at once, behind the one before them.
func (g *group) due() int64 { return g.streams[0].head.Time }

// groups orders runs by when their next line is due.
type groups []*group

func (h groups) Len() int { return len(h) }
func (h groups) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}
func (h *groups) Push(x any) {
	g := x.(*group)
	g.at = len(*h)
	*h = append(*h, g)
}
func (h *groups) Pop() any {
	old := *h
	g := old[len(old)-1]
	g.at = -1
	*h = old[:len(old)-1]
	return g
}
func (h groups) Less(i, j int) bool {
	a, b := h[i], h[j]
	if x, y := a.due(), b.due(); x != y {
		return x < y
	}
	if a.run == nil || b.run == nil {
		return a.run == nil && b.run != nil
	}
	if c := strings.Compare(a.run.Relay, b.run.Relay); c != 0 {
		return c < 0
	}
	return a.run.ID < b.run.ID
}

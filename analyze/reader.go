// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
)

// Options are what a Reader tells while it reads. Each may be nil. They are
// called from Next and Open, never at the same time.
type Options struct {
	Stdin io.Reader
	// Follow goes on reading where the live file ends, over rotations, until
	// Close. It takes one log.
	Follow bool
	// OnBad is told of everything that is no line.
	OnBad func(Bad)
	// OnNote is told what is worth knowing and not wrong: a line that is being
	// written.
	OnNote func(string)
	// OnDetail is told what only somebody who wonders wants to know: which
	// files of a folder were ignored.
	OnDetail func(string)
	// OnIdle is called before the Reader waits for an input.
	OnIdle func()
	// OnError is told of each input that cannot be read; reading goes on with
	// the others.
	OnError func(error)
}

// Reader merges the lines of any number of files. Lines of one run come in the
// order of their sequence numbers; runs are put beside each other by time; a
// line that several files hold comes once. Its memory does not grow with the
// size of the files: a file is opened when its first line is due.
//
// Within one input the order of lines is kept where it cannot be helped: a pipe
// that holds several runs one after the other gives them so.
type Reader struct {
	opt    Options
	runs   *runs
	groups groups
	byRun  map[*Run]*group
	// current is the group whose first line was handed out last.
	current *group
	in      *inputs
	stats   Stats
	read    atomic.Int64
}

// Open finds the inputs that args name: folders, files, or - for stdin.
// Inputs that cannot be read are reported to Options.OnError and counted.
func Open(args []string, opt Options) *Reader {
	r := &Reader{opt: opt, runs: &runs{known: map[[2]string]*Run{}}, byRun: map[*Run]*group{}}
	r.in = find(args, opt.Stdin, &r.read)
	if opt.Follow && len(r.in.errs) == 0 {
		if err := r.in.follow(); err != nil {
			r.in.errs, r.in.sources = append(r.in.errs, err), nil
		}
	}
	for _, err := range r.in.errs {
		r.unreadable(err)
	}
	for _, note := range r.in.notes {
		if opt.OnDetail != nil {
			opt.OnDetail(note)
		}
	}
	for rank, src := range r.in.sources {
		s := &stream{src: src, rank: rank}
		s.peek(r.runs)
		r.put(s)
	}
	return r
}

func (r *Reader) unreadable(err error) {
	r.stats.Unreadable++
	if r.opt.OnError != nil {
		r.opt.OnError(err)
	}
}

// Progress is how many bytes of the files were read, of how many; total is 0
// where nobody can know. It may be called from another goroutine.
func (r *Reader) Progress() (read, total int64) { return r.read.Load(), r.in.bytes }

// Relays is how many relays the first lines of the files name. A pipe is not
// looked into.
func (r *Reader) Relays() int {
	names := map[string]bool{}
	for run := range r.byRun {
		if run != nil {
			names[run.Relay] = true
		}
	}
	return len(names)
}

// Stats counts what was read so far.
func (r *Reader) Stats() Stats { return r.stats }

// Next is the next line, or io.EOF. The line is valid until the next call.
func (r *Reader) Next() (*Line, error) {
	for {
		if r.current != nil {
			r.step()
		}
		if len(r.groups) == 0 {
			return nil, io.EOF
		}
		g := r.groups[0]
		s := g.streams[0]
		if !s.open {
			// What was peeked may have changed since: look again.
			r.take(g, s)
			if r.start(s) {
				r.put(s)
			}
			continue
		}
		r.current = g
		l := s.head
		if !l.Run.Seen.Add(l.Seq) {
			r.stats.Duplicates++
			continue
		}
		if l.Run.Seen.fresh() {
			r.stats.Runs++
		}
		r.stats.Lines++
		return l, nil
	}
}

// step moves the current stream to its next line and mends the order.
func (r *Reader) step() {
	g := r.current
	s := g.streams[0]
	r.current = nil
	if !r.advance(s) {
		r.take(g, s)
		return
	}
	if s.head.Run != g.run {
		r.take(g, s)
		r.put(s)
		return
	}
	if len(g.streams) > 1 {
		heap.Fix(&g.streams, 0)
	}
	if len(r.groups) > 1 {
		heap.Fix(&r.groups, 0)
	}
}

// put files a stream under the run of its next line. One whose next line is
// not known yet goes first.
func (r *Reader) put(s *stream) {
	run := s.head.Run
	g := r.byRun[run]
	if g == nil {
		g = &group{run: run, at: -1}
		r.byRun[run] = g
	}
	heap.Push(&g.streams, s)
	if g.at < 0 {
		heap.Push(&r.groups, g)
	} else {
		heap.Fix(&r.groups, g.at)
	}
}

// take removes a stream that is the first of g.
func (r *Reader) take(g *group, s *stream) {
	heap.Pop(&g.streams)
	if len(g.streams) == 0 {
		heap.Remove(&r.groups, g.at)
	} else {
		heap.Fix(&r.groups, g.at)
	}
}

// start opens a stream and moves it to its first line; false if there is none.
func (r *Reader) start(s *stream) bool {
	if err := s.start(r.runs); err != nil {
		var inData corrupt
		switch {
		case errors.As(err, &inData):
			r.stats.Files++
			r.bad(Bad{s.src.file, 1, 1, fmt.Sprintf("the compressed data cannot be read at all (%v)", inData.error)})
		case errors.Is(err, fs.ErrNotExist):
			r.note(fmt.Sprintf("%s went away while the folder was read: the relay keeps only the newest files", s.src.file.Name))
		default:
			r.unreadable(fmt.Errorf("cannot read the log: %w", err))
		}
		return false
	}
	r.stats.Files++
	return r.advance(s)
}

// advance moves an open stream to its next line; false at its end.
func (r *Reader) advance(s *stream) bool {
	for {
		if s.next < len(s.lines) {
			s.head = &s.lines[s.next]
			s.next++
			return true
		}
		b := s.nextBlock(r.opt.OnIdle)
		if b == nil {
			return false
		}
		for _, bad := range b.bad {
			r.bad(bad)
		}
		if b.note != "" {
			r.note(b.note)
		}
		if b.err != nil {
			r.unreadable(b.err)
		}
	}
}

func (r *Reader) bad(b Bad) {
	r.stats.BadLines += b.Count
	if r.opt.OnBad != nil {
		r.opt.OnBad(b)
	}
}

func (r *Reader) note(text string) {
	if r.opt.OnNote != nil {
		r.opt.OnNote(text)
	}
}

// Close stops reading and closes the files. Stdin is left open.
func (r *Reader) Close() {
	for _, g := range r.groups {
		for _, s := range g.streams {
			s.stop()
		}
	}
	r.groups, r.current = nil, nil
	for _, c := range r.in.held {
		c.Close()
	}
}

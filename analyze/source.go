// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	blockSize = 256 << 10
	peekSize  = 64 << 10
	// maxLine is far above the 64 KiB that a relay's line may have, to be kind
	// to tools that rewrite lines, and yet bounds what garbage can cost.
	maxLine = 1 << 20
	// maxWindow bounds the memory that a compressed file can ask for.
	maxWindow = 64 << 20
)

// source is one input before it is opened.
type source struct {
	file *File
	path string
	// held is an input that is open already: stdin, or the live file, which
	// may be renamed before its turn comes.
	held   io.Reader
	read   *atomic.Int64
	follow bool // the end of the file is not the end
}

// counting counts the bytes that were read, for progress.
type counting struct {
	io.Reader
	n *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// corrupt is compressed data that breaks off or makes no sense, as against an
// error of the system.
type corrupt struct{ error }

// followFrom opens the file that is now at the path, to be read as it grows.
func (s *source) followFrom(quit <-chan struct{}) (io.Reader, func(), error) {
	f, ok := s.held.(*os.File)
	if s.held = nil; !ok {
		var err error
		if f, err = os.Open(s.path); err != nil {
			return nil, func() {}, err
		}
	} else if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, func() {}, err
	}
	return counting{&follower{File: f, path: s.path, quit: quit}, s.read}, func() { f.Close() }, nil
}

// open gives the decompressed bytes. What is compressed shows in its first
// bytes, so that pipes work too.
func (s *source) open() (io.Reader, func(), error) {
	var raw io.Reader
	closers := []func(){}
	done := func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	switch held := s.held.(type) {
	case nil:
		f, err := openOrCompressed(s.path)
		if err != nil {
			return nil, done, err
		}
		closers = append(closers, func() { f.Close() })
		raw = f
	case io.ReadSeeker:
		if _, err := held.Seek(0, io.SeekStart); err != nil && s.path != "-" {
			return nil, done, err
		}
		raw = held
	default:
		raw = held
	}
	raw = counting{raw, s.read}

	var magic [4]byte
	n, err := io.ReadAtLeast(raw, magic[:], 1)
	if err != nil && err != io.EOF {
		return nil, done, err
	}
	for n > 0 && n < 4 && (magic[0] == 0x1f || magic[0] == 0x28) {
		m, err := raw.Read(magic[n:])
		n += m
		if err != nil {
			break
		}
	}
	raw = io.MultiReader(bytes.NewReader(bytes.Clone(magic[:n])), raw)
	switch {
	case bytes.HasPrefix(magic[:n], []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(raw)
		if err != nil {
			return nil, done, corrupt{err}
		}
		closers = append(closers, func() { z.Close() })
		return decompressor{z}, done, nil
	case bytes.HasPrefix(magic[:n], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, done, corrupt{err}
		}
		closers = append(closers, z.Close)
		return decompressor{z}, done, nil
	}
	return raw, done, nil
}

// decompressor marks the errors of a decoder as being in the data.
type decompressor struct{ io.Reader }

func (d decompressor) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	var system *fs.PathError
	if err != nil && err != io.EOF && !errors.As(err, &system) {
		err = corrupt{err}
	}
	return n, err
}

// openOrCompressed opens a file, or what the relay has compressed it to since
// the folder was listed.
func openOrCompressed(path string) (*os.File, error) {
	f, err := os.Open(path)
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(path, ".log") {
		return f, err
	}
	for _, suffix := range []string{".zst", ".gz"} {
		if f, err := os.Open(path + suffix); err == nil {
			return f, nil
		}
	}
	return nil, err
}

// block is some lines of a file, with the bytes that they point into.
type block struct {
	buf   []byte
	lines []Line
	bad   []Bad
	note  string
	err   error // the file could not be read further
}

var blocks = sync.Pool{New: func() any { return new(block) }}

// splitter cuts a source into blocks.
type splitter struct {
	file     *File
	in       io.Reader
	scan     scanner
	rest     []byte // the begun line at the end of the block before
	number   int    // of the last line
	skipping bool   // within a line that is too long
	size     int
}

// next is the next block; the second value is false when it is the last. A
// block may come back without lines.
func (s *splitter) next() (*block, bool) {
	b := blocks.Get().(*block)
	b.lines, b.bad, b.note, b.err = b.lines[:0], b.bad[:0], "", nil
	if need := len(s.rest) + s.size; cap(b.buf) < need {
		b.buf = make([]byte, need)
	}
	b.buf = b.buf[:cap(b.buf)]
	have := copy(b.buf, s.rest)
	n, err := s.in.Read(b.buf[have:])
	b.buf = b.buf[:have+n]
	fresh := have // no newline stands before it

	at := 0
	for {
		end := bytes.IndexByte(b.buf[max(at, fresh):], '\n')
		if end < 0 {
			break
		}
		end += max(at, fresh)
		s.number++
		if s.skipping {
			s.skipping = false
			s.complain(b, fmt.Sprintf("longer than %d KiB", maxLine>>10))
		} else {
			s.line(b, b.buf[at:end])
		}
		at = end + 1
	}
	s.rest = append(s.rest[:0], b.buf[at:]...)
	if len(s.rest) > maxLine {
		s.skipping, s.rest = true, s.rest[:0]
	} else if s.skipping {
		s.rest = s.rest[:0]
	}
	if err == nil {
		return b, true
	}
	s.finish(b, err)
	return b, false
}

func (s *splitter) line(b *block, raw []byte) {
	if n := len(raw); n > 0 && raw[n-1] == '\r' {
		raw = raw[:n-1]
	}
	l := Line{File: s.file, Number: s.number}
	err := s.scan.scan(raw, &l)
	if err == nil {
		b.lines = append(b.lines, l)
		return
	}
	// A line that was cut in the middle swallows the one behind it when files
	// are joined. That one is whole: only it is taken.
	if at := bytes.LastIndex(raw, []byte(openTime)); at > 0 && s.scan.scan(raw[at:], &l) == nil {
		s.complain(b, fmt.Sprintf("%d bytes of a cut line stand before a whole one, which was read", at))
		b.lines = append(b.lines, l)
		return
	}
	s.complain(b, err.Error())
}

// complain notes the line that s.number is at; like complaints in a row are one.
func (s *splitter) complain(b *block, reason string) {
	if k := len(b.bad) - 1; k >= 0 && b.bad[k].Reason == reason && b.bad[k].Number+b.bad[k].Count == s.number {
		b.bad[k].Count++
		return
	}
	b.bad = append(b.bad, Bad{s.file, s.number, 1, reason})
}

// finish says what became of the bytes behind the last newline.
func (s *splitter) finish(b *block, err error) {
	rest := s.rest
	var inData corrupt
	switch {
	case errors.As(err, &inData):
		s.number++
		s.complain(b, fmt.Sprintf("the compressed data breaks off here (%v); what stood behind it is lost", inData.error))
		return
	case err != io.EOF:
		b.err = fmt.Errorf("read %s: %w", s.file.Name, err)
		return
	case s.skipping:
		s.number++
		s.complain(b, fmt.Sprintf("longer than %d KiB", maxLine>>10))
		return
	case len(rest) == 0:
		return
	}
	s.number++
	l := Line{File: s.file, Number: s.number}
	// The block's buffer still holds what rest was copied from.
	whole := b.buf[len(b.buf)-len(rest):]
	scanErr := s.scan.scan(whole, &l)
	switch {
	case scanErr == nil:
		b.lines = append(b.lines, l)
	case s.file.Live && bytes.IndexByte(whole, 0) < 0:
		b.note = fmt.Sprintf("%s:%d: the last line is not finished (%d bytes); the relay is writing it, or ended while it did",
			s.file.Name, s.number, len(rest))
	default:
		s.complain(b, fmt.Sprintf("the file ends within the line, after %d bytes (%v)", len(rest), scanErr))
	}
}

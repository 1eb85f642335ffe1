// SPDX-License-Identifier: Apache-2.0

package logstest

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"plumbline/logs"
)

// Line is one line of a log folder.
type Line struct {
	File   string // as it is called now
	Number int    // in the file, from 1

	Time     string
	Severity string
	Message  string
	Event    string
	Relay    string
	Run      string
	Seq      uint64
	Raw      []byte // with the event's own fields
}

// Decode reads the event's own fields.
func (l Line) Decode(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal(l.Raw, into); err != nil {
		t.Fatalf("%s:%d: %v", l.File, l.Number, err)
	}
}

// CheckDir reads every file of a log folder in order and fails the test where
// the log breaks one of its promises:
//
//   - each line is valid by its event's schema (logs.ValidateLine);
//   - each file begins with log.opened, which names the file, the one before it,
//     and schema 1; nothing follows log.closed, whose count of lines is right
//     and whose next is the file that comes next;
//   - a file holds one run, and runs do not mix;
//   - seq begins with 1 in each run and goes up by one over all its files; a
//     hole stands right before the log.dropped that names exactly it;
//   - times do not go back, unless the log says that the clock did.
//
// It returns the lines. Files that rotation has removed are no fault: the oldest
// file may begin anywhere in its run.
func CheckDir(t testing.TB, dir string) []Line {
	t.Helper()
	files, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := checker{t: t, files: files}
	for i, name := range files {
		lines, err := readFile(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.file(i, lines)
	}
	return c.all
}

// Files lists a log folder's files in the order in which they were written.
func Files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, plain, ok := logs.ParseFileName(e.Name()); ok {
			if plain != e.Name() {
				// Seen between the packed file's birth and the plain one's end.
				if _, err := os.Lstat(filepath.Join(dir, plain)); err == nil {
					continue
				}
			}
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	if _, err := os.Lstat(filepath.Join(dir, logs.LiveFile)); err == nil {
		names = append(names, logs.LiveFile)
	}
	return names, nil
}

func readFile(path string) ([]Line, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(path) {
	case ".gz":
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	case ".zst":
		z, err := zstd.NewReader(f)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		r = z
	}
	var lines []Line
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		raw, err := in.ReadBytes('\n')
		if err == io.EOF && len(raw) == 0 {
			return lines, nil
		}
		if err != nil {
			return lines, fmt.Errorf("line %d is cut: %w", len(lines)+1, err)
		}
		l := Line{File: filepath.Base(path), Number: len(lines) + 1, Raw: raw}
		if err := logs.ValidateLine(raw); err != nil {
			return lines, fmt.Errorf("line %d: %w: %s", l.Number, err, raw)
		}
		var head struct {
			Time, Severity, Message, Event, Relay, Run string
			Seq                                        uint64
		}
		if err := json.Unmarshal(raw, &head); err != nil {
			return lines, err
		}
		l.Time, l.Severity, l.Message, l.Event = head.Time, head.Severity, head.Message, head.Event
		l.Relay, l.Run, l.Seq = head.Relay, head.Run, head.Seq
		lines = append(lines, l)
	}
}

type checker struct {
	t     testing.TB
	files []string
	all   []Line

	next    string // what the last log.closed promised
	promise Line
}

func (c *checker) errorf(l Line, format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("%s:%d (seq %d): %s\n\t%s", l.File, l.Number, l.Seq, fmt.Sprintf(format, args...), strings.TrimSpace(string(l.Raw)))
}

func (c *checker) file(i int, lines []Line) {
	c.t.Helper()
	if len(lines) == 0 {
		c.t.Errorf("%s is empty", c.files[i])
		return
	}
	c.opened(i, lines[0])
	for n, l := range lines {
		if n > 0 && l.Event == "log.opened" {
			c.errorf(l, "log.opened in the middle of a file")
		}
		if l.Run != lines[0].Run {
			c.errorf(l, "two runs in one file")
		}
		if l.Event == "log.closed" {
			c.closed(i, l, len(lines))
		}
		c.seq(l)
		c.all = append(c.all, l)
	}
}

func (c *checker) opened(i int, l Line) {
	c.t.Helper()
	if l.Event != "log.opened" {
		c.errorf(l, "the first line is not log.opened")
		return
	}
	var e logs.Opened
	l.Decode(c.t, &e)
	c.follows(l, e.File)
	if e.Schema != logs.Schema {
		c.errorf(l, "schema %d, want %d", e.Schema, logs.Schema)
	}
	if _, plain, _ := logs.ParseFileName(l.File); l.File != logs.LiveFile && e.File != plain {
		c.errorf(l, "the file calls itself %s", e.File)
	}
	if i == 0 {
		return // what came before may have been removed
	}
	before := c.files[i-1]
	if _, plain, ok := logs.ParseFileName(before); ok {
		before = plain
	}
	if e.Previous == nil || *e.Previous != before {
		c.errorf(l, "previous is not %s", before)
	}
}

func (c *checker) closed(i int, l Line, lines int) {
	c.t.Helper()
	var e logs.Closed
	l.Decode(c.t, &e)
	if l.Number != lines {
		c.errorf(l, "%d lines follow log.closed", lines-l.Number)
	}
	if e.Lines != int64(l.Number) {
		c.errorf(l, "log.closed counts %d lines", e.Lines)
	}
	if e.Next == nil {
		return
	}
	if i+1 == len(c.files) {
		c.errorf(l, "next is %s, but no file follows", *e.Next)
		return
	}
	c.next, c.promise = *e.Next, l
}

// follows compares a file's first line with the promise of the file before it. A
// relay that was killed within a rotation has promised a file that never got a
// line; then another run follows.
func (c *checker) follows(first Line, file string) {
	c.t.Helper()
	if c.next != "" && first.Run == c.promise.Run && file != c.next {
		c.errorf(c.promise, "next is %s, but %s follows", c.next, file)
	}
	c.next = ""
}

func (c *checker) seq(l Line) {
	c.t.Helper()
	if len(c.all) == 0 {
		return
	}
	last := c.all[len(c.all)-1]
	want := last.Seq + 1
	if l.Run != last.Run {
		want = 1
		if l.Run < last.Run {
			c.errorf(l, "run %s comes after %s", l.Run, last.Run)
		}
	} else if l.Time < last.Time && !strings.Contains(l.Message, "clock stepped back") {
		c.errorf(l, "time goes back from %s to %s", last.Time, l.Time)
	}
	if l.Event == "log.dropped" {
		var e logs.Dropped
		l.Decode(c.t, &e)
		if e.FirstSeq != want || e.LastSeq != l.Seq-1 || e.Count != e.LastSeq-e.FirstSeq+1 {
			c.errorf(l, "the hole is seq %d to %d", want, l.Seq-1)
		}
		return
	}
	if l.Seq != want {
		c.errorf(l, "seq is not %d", want)
	}
}

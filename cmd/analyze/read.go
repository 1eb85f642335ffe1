// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"plumbline/analyze"
	"plumbline/logs"
)

// inputFlags are the arguments of the commands that read a log.
type inputFlags struct {
	Log []string `arg:"" name:"log" help:"Log folders, files, or - for stdin."`

	selectFlags
}

// selectFlags say which lines of a log are wanted, and how to take bad ones.
type selectFlags struct {
	Since      string `placeholder:"TIME" help:"Leave out what is before: 2026-11-24T10:00:00Z, '2026-11-24 10:00' (UTC unless an offset is given), or -15m."`
	Until      string `placeholder:"TIME" help:"Leave out what is from then on."`
	Severity   string `placeholder:"LEVEL" help:"Leave out what is less severe: debug, info, warn or error."`
	Event      string `placeholder:"GLOB" help:"Only events of this name, such as config.*; several with commas."`
	Allocation string `placeholder:"ID" help:"Only lines about this allocation."`
	Client     string `placeholder:"ADDR" help:"Only lines about this client (ip or ip:port) and its allocations."`
	Peer       string `placeholder:"ADDR" help:"Only lines about this peer (ip or ip:port)."`

	Strict  bool `help:"Fail on the first line that is none."`
	Verbose bool `short:"v" help:"Say which files were ignored and which lines came twice."`
}

// outputFlags are the arguments of commands that print for people.
type outputFlags struct {
	JSON  bool   `name:"json" help:"Print JSON."`
	Color string `enum:"auto,always,never" default:"auto" help:"Colours: auto, always or never. NO_COLOR is honoured."`
}

// colored decides about colours.
func (f *outputFlags) colored(out io.Writer) bool {
	switch f.Color {
	case "always":
		return true
	case "never":
		return false
	}
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(out)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Mode()&os.ModeDevice != 0
}

func (f *selectFlags) selector(now time.Time) (*analyze.Selector, error) {
	sel := analyze.Selection{Event: f.Event, Allocation: f.Allocation, Client: f.Client, Peer: f.Peer}
	if f.Severity != "" {
		severity, ok := logs.ParseSeverity(f.Severity)
		if !ok {
			return nil, fmt.Errorf("--severity %q is none of debug, info, warn, error", f.Severity)
		}
		sel.Severity = severity
	}
	for _, m := range []struct {
		flag, value string
		to          *time.Time
	}{{"--since", f.Since, &sel.Since}, {"--until", f.Until, &sel.Until}} {
		if m.value == "" {
			continue
		}
		t, err := analyze.Moment(m.value, now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.flag, err)
		}
		*m.to = t
	}
	return analyze.NewSelector(sel)
}

// errStrict ends reading at the first bad line.
var errStrict = errors.New("--strict: the log holds what is no line of a log")

// reading is a log that is being read. What is wrong with it is told on stderr
// as it is met.
type reading struct {
	*analyze.Reader
	streams *streams
	flags   *selectFlags
	bad     bool
	wipe    func() // ends the progress display
}

// open begins to read. progress asks for a display of it on the terminal; idle,
// if not nil, is called before an input is waited for.
func (f *selectFlags) open(s *streams, log []string, progress bool, idle func()) *reading {
	return f.begin(s, log, progress, analyze.Options{OnIdle: idle})
}

func (f *selectFlags) begin(s *streams, log []string, progress bool, opt analyze.Options) *reading {
	rd := &reading{streams: s, flags: f, wipe: func() {}}
	opt.Stdin = s.in
	opt.OnBad = func(b analyze.Bad) {
		rd.bad = true
		rd.say(b.String())
	}
	opt.OnNote = func(text string) { rd.say("note: " + text) }
	opt.OnError = func(err error) { rd.say(err.Error()) }
	if f.Verbose {
		opt.OnDetail = rd.say
	}
	rd.Reader = analyze.Open(log, opt)
	if progress {
		rd.wipe = showProgress(s.err, rd.Reader)
	}
	return rd
}

func (rd *reading) say(text string) {
	fmt.Fprintf(rd.streams.err, "analyze: %s\n", analyze.AppendVisible(nil, text))
}

// Next is the next line, or io.EOF. With --strict it fails behind a bad line.
func (rd *reading) Next() (*analyze.Line, error) {
	l, err := rd.Reader.Next()
	if rd.bad && rd.flags.Strict {
		return nil, errStrict
	}
	return l, err
}

// end closes the log. It fails if an input could not be read.
func (rd *reading) end() (analyze.Stats, error) {
	rd.Close()
	rd.wipe()
	stats := rd.Stats()
	if rd.flags.Verbose && stats.Duplicates > 0 {
		rd.say(fmt.Sprintf("%d lines came twice and were taken once", stats.Duplicates))
	}
	switch {
	case stats.Unreadable == 1:
		return stats, errors.New("1 input could not be read (see above): what is in it is missing here")
	case stats.Unreadable > 1:
		return stats, fmt.Errorf("%d inputs could not be read (see above): what is in them is missing here", stats.Unreadable)
	case stats.Lines == 0 && stats.BadLines > 0:
		// "No findings" would be a claim about a log that nobody has seen.
		return stats, errors.New("not one line of a relay's log is in this input: is it the right one?")
	}
	return stats, nil
}

// each shows every line to take, and ends the reading.
func (rd *reading) each(take func(*analyze.Line) error) (analyze.Stats, error) {
	for {
		l, err := rd.Next()
		if err == io.EOF {
			return rd.end()
		}
		if err == nil {
			err = take(l)
		}
		if err != nil {
			stats, endErr := rd.end()
			return stats, errors.Join(err, endErr)
		}
	}
}

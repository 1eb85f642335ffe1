// SPDX-License-Identifier: Apache-2.0

// Package loggen writes logs as the relay does, for tests and benchmarks: from
// the event types, with every line's head, in files that rotate. Its simulated
// relay keeps the books that a real one keeps, so that a log without faults is
// one in which nothing may be found.
package loggen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"plumbline/logs"
)

// AppendLine appends one line of the log, with its newline.
func AppendLine(dst []byte, at time.Time, relay, run string, seq uint64, e logs.Event) []byte {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		panic(fmt.Sprintf("loggen: %s cannot be encoded: %v", e.Name(), err))
	}
	dst = append(dst, `{"time":"`...)
	dst = append(dst, logs.Time{Time: at}.String()...)
	dst = append(dst, `","severity":"`...)
	dst = append(dst, e.Severity().String()...)
	dst = append(dst, `","message":`...)
	dst = appendString(dst, e.Message())
	dst = append(dst, `,"event":`...)
	dst = appendString(dst, e.Name())
	dst = append(dst, `,"relay":`...)
	dst = appendString(dst, relay)
	dst = append(dst, `,"run":`...)
	dst = appendString(dst, run)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	own := bytes.TrimSpace(body.Bytes())
	if string(own) == "{}" {
		return append(dst, "}\n"...)
	}
	dst = append(dst, ',')
	dst = append(dst, own[1:]...)
	return append(dst, '\n')
}

func appendString(dst []byte, s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s)
	return append(dst, bytes.TrimSpace(b.Bytes())...)
}

// Log is one run's lines, made one after the other.
type Log struct {
	Relay string
	Run   string
	Now   time.Time
	Seq   uint64 // of the last line
	Lines [][]byte
}

// NewLog begins a run.
func NewLog(relay, run string, start time.Time) *Log {
	return &Log{Relay: relay, Run: run, Now: start}
}

// After moves the clock on, or back.
func (l *Log) After(d time.Duration) *Log {
	l.Now = l.Now.Add(d)
	return l
}

// Log implements logs.Sink.
func (l *Log) Log(e logs.Event) { l.Add(e) }

// Add writes lines, one millisecond after each other.
func (l *Log) Add(events ...logs.Event) *Log {
	for _, e := range events {
		l.Seq++
		l.Lines = append(l.Lines, AppendLine(nil, l.Now, l.Relay, l.Run, l.Seq, e))
		l.Now = l.Now.Add(time.Millisecond)
	}
	return l
}

// Bytes is the whole log.
func (l *Log) Bytes() []byte { return bytes.Join(l.Lines, nil) }

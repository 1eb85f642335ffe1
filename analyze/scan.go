// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"plumbline/logs"
)

// runs gives each run one *Run, whichever file its lines are met in.
type runs struct {
	mu    sync.Mutex
	known map[[2]string]*Run
}

func (r *runs) get(relay, id []byte) *Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{string(relay), string(id)}
	run := r.known[key]
	if run == nil {
		run = &Run{Relay: key[0], ID: key[1]}
		r.known[key] = run
	}
	return run
}

// scanner reads the heads of one file's lines. It remembers what lines of one
// file share: their run and their day.
type scanner struct {
	runs   *runs
	run    *Run
	day    [10]byte
	dayUTC int64 // midnight of day in nanoseconds
}

const (
	openTime     = `{"time":"`
	openSeverity = `","severity":"`
	openMessage  = `","message":"`
	openEvent    = `","event":"`
	openRelay    = `","relay":"`
	openRun      = `","run":"`
	openSeq      = `","seq":`
	clockLen     = len("2026-11-24T03:22:12.120000000Z")
)

// scan fills l from raw. An error says why raw is no line of a relay's log.
func (s *scanner) scan(raw []byte, l *Line) error {
	if s.fast(raw, l) {
		return nil
	}
	return s.slow(raw, l)
}

// fast reads a line in the order in which the relay writes it. It is false for
// whatever else, good or bad.
func (s *scanner) fast(raw []byte, l *Line) bool {
	const clockEnd = len(openTime) + clockLen
	if len(raw) < clockEnd+len(openSeverity) || string(raw[:len(openTime)]) != openTime ||
		string(raw[clockEnd:clockEnd+len(openSeverity)]) != openSeverity {
		return false
	}
	clock := raw[len(openTime):clockEnd]
	when, ok := s.time(clock)
	if !ok {
		return false
	}
	i := clockEnd + len(openSeverity)
	field := func(closing string) ([]byte, bool) {
		end, _ := endOfString(raw, i)
		if end < 0 || len(raw)-end < len(closing) || string(raw[end:end+len(closing)]) != closing {
			return nil, false
		}
		value := raw[i:end]
		i = end + len(closing)
		return value, len(value) > 0
	}
	word, ok := field(openMessage)
	if !ok {
		return false
	}
	severity, ok := severityOf(word)
	if !ok {
		return false
	}
	message, ok := field(openEvent)
	if !ok {
		return false
	}
	event, ok := field(openRelay)
	if !ok {
		return false
	}
	relay, ok := field(openRun)
	if !ok {
		return false
	}
	id, ok := field(openSeq)
	if !ok {
		return false
	}
	var seq uint64
	digits := i
	for i < len(raw) && raw[i]-'0' <= 9 {
		seq = seq*10 + uint64(raw[i]-'0')
		i++
	}
	if n := i - digits; n == 0 || n > 18 || seq == 0 || !validRest(raw, i) {
		return false
	}
	if s.run == nil || s.run.Relay != string(relay) || s.run.ID != string(id) {
		if bytes.IndexByte(relay, '\\') >= 0 || bytes.IndexByte(id, '\\') >= 0 {
			return false // the other way undoes escapes
		}
		s.run = s.runs.get(relay, id)
	}
	l.Raw, l.Message, l.Event, l.Clock = raw, message, event, clock
	l.Time, l.Seq, l.Run, l.Severity = when, seq, s.run, severity
	return true
}

func severityOf(word []byte) (logs.Severity, bool) {
	switch string(word) {
	case "INFO":
		return logs.Info, true
	case "DEBUG":
		return logs.Debug, true
	case "WARN":
		return logs.Warn, true
	case "ERROR":
		return logs.Error, true
	}
	return 0, false
}

// time reads the fixed-width clock. The calendar is asked once per day.
func (s *scanner) time(c []byte) (int64, bool) {
	if c[10] != 'T' || c[13] != ':' || c[16] != ':' || c[19] != '.' || c[29] != 'Z' {
		return 0, false
	}
	if string(c[:10]) != string(s.day[:]) {
		day, err := time.Parse(time.DateOnly, string(c[:10]))
		if err != nil {
			return 0, false
		}
		copy(s.day[:], c)
		s.dayUTC = day.UnixNano()
	}
	two := func(i int) (int64, bool) {
		a, b := c[i]-'0', c[i+1]-'0'
		return int64(a)*10 + int64(b), a <= 9 && b <= 9
	}
	hour, ok1 := two(11)
	minute, ok2 := two(14)
	second, ok3 := two(17)
	if !ok1 || !ok2 || !ok3 || hour > 23 || minute > 59 || second > 60 {
		return 0, false
	}
	var nano int64
	for _, d := range c[20:29] {
		if d-'0' > 9 {
			return 0, false
		}
		nano = nano*10 + int64(d-'0')
	}
	return s.dayUTC + (hour*3600+minute*60+second)*1e9 + nano, true
}

// slow decodes a line whose keys another tool has put into another order, as
// jq -S does. Log stores give numbers back as strings; that is taken too.
func (s *scanner) slow(raw []byte, l *Line) error {
	trimmed := bytes.TrimSpace(raw)
	if len(trimmed) == 0 {
		return errors.New("an empty line")
	}
	if bytes.IndexByte(trimmed, 0) >= 0 {
		return errors.New("NUL bytes, as a crash or a full disk leaves them")
	}
	if trimmed[0] != '{' {
		return errors.New("not a JSON object")
	}
	var head struct {
		Time, Severity, Message, Event, Relay, Run *string
		Seq                                        json.RawMessage
	}
	if err := json.Unmarshal(trimmed, &head); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return fmt.Errorf("cut or broken JSON: %w", err)
		}
		return fmt.Errorf("not a line of a relay's log: %w", err)
	}
	for _, f := range []struct {
		name  string
		value *string
	}{
		{"time", head.Time}, {"severity", head.Severity}, {"message", head.Message},
		{"event", head.Event}, {"relay", head.Relay}, {"run", head.Run},
	} {
		if f.value == nil || *f.value == "" {
			return fmt.Errorf("not a line of a relay's log: it has no %s", f.name)
		}
	}
	when, err := time.Parse(time.RFC3339Nano, *head.Time)
	if err != nil {
		return fmt.Errorf("time %q is not RFC 3339", *head.Time)
	}
	severity, ok := logs.ParseSeverity(*head.Severity)
	if !ok {
		return fmt.Errorf("severity %q is none of DEBUG, INFO, WARN, ERROR", *head.Severity)
	}
	seq, err := strconv.ParseUint(string(bytes.Trim(head.Seq, `"`)), 10, 64)
	if err != nil || seq == 0 {
		return fmt.Errorf("seq %s is not a number from 1 on", orNothing(head.Seq))
	}
	quoted, err := json.Marshal(*head.Message)
	if err != nil {
		return err
	}
	s.run = s.runs.get([]byte(*head.Relay), []byte(*head.Run))
	l.Raw, l.Message, l.Event = trimmed, quoted[1:len(quoted)-1], []byte(*head.Event)
	l.Clock = []byte(logs.Time{Time: when}.String())
	l.Time, l.Seq, l.Run, l.Severity = when.UnixNano(), seq, s.run, severity
	return nil
}

func orNothing(b []byte) string {
	if len(b) == 0 {
		return "(none)"
	}
	return string(b)
}

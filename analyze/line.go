// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"plumbline/logs"
)

// Run is one process run of one relay. A Reader has one Run per run that it
// meets, so that runs can be compared as pointers.
type Run struct {
	Relay string
	ID    string
	// Seen holds the sequence numbers that the Reader has handed out so far.
	Seen Intervals
}

// File is one place that lines come from.
type File struct {
	// Name is how the file is cited: its base name if one folder was asked
	// for, else the path that leads to it.
	Name string
	// Live says that the relay may still be writing it.
	Live bool
}

// Line is one whole line of the log. Its bytes are shared with the Reader and
// valid until the next call of Next.
type Line struct {
	Raw      []byte // the whole line, without its newline
	Message  []byte // as it stands in the line: JSON escapes are not undone
	Event    []byte
	Clock    []byte // "2026-11-24T03:22:12.120000000Z"
	Time     int64  // the same in nanoseconds since 1970, UTC
	Seq      uint64
	Run      *Run
	File     *File
	Number   int // of the line in its file, from 1
	Severity logs.Severity
}

// Where cites the line as file:line.
func (l *Line) Where() string { return fmt.Sprintf("%s:%d", l.File.Name, l.Number) }

// When is the line's time.
func (l *Line) When() time.Time { return time.Unix(0, l.Time).UTC() }

// Decode reads the event's own fields into v, a pointer to a type of package
// logs.
func (l *Line) Decode(v any) error {
	if err := json.Unmarshal(l.Raw, v); err != nil {
		return fmt.Errorf("%s: %s: %w", l.Where(), l.Event, err)
	}
	return nil
}

// AppendMessage appends the message as a person should see it: JSON escapes
// are undone, and control characters, which could move a terminal's cursor or
// forge a line, are shown escaped. A user name, for one, is the client's to
// choose.
func (l *Line) AppendMessage(dst []byte) []byte {
	if plain(l.Message) {
		return append(dst, l.Message...)
	}
	quoted := make([]byte, 0, len(l.Message)+2)
	quoted = append(append(append(quoted, '"'), l.Message...), '"')
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		s = string(l.Message)
	}
	return AppendVisible(dst, s)
}

// plain is true for text that needs no second look: no escape, and no byte
// that might begin a control character (DEL, or C2 for U+0080 to U+009F).
func plain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c == '\\' || c == 0x7f || c == 0xc2 {
			return false
		}
	}
	return true
}

// AppendVisible appends s with its control characters and broken UTF-8 escaped.
func AppendVisible(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			dst = fmt.Appendf(dst, `\x%02x`, s[i])
		case r < 0x20, r >= 0x7f && r <= 0x9f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			// The last two ranges turn the direction of text.
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return dst
}

// SPDX-License-Identifier: Apache-2.0

// Package logs is the relay's event catalogue and the writer that puts events
// on disk as JSON Lines.
//
// The log is evidence: every line carries the run it belongs to and a
// contiguous sequence number, so that a reader can prove that no line is
// missing. An event is therefore a Go type, not a format string. Its fields
// are the contract with analyze, stock jq and log stores, and the JSON Schema
// that is checked in beside it is generated from these types.
package logs

import "log/slog"

// Schema is the version of the catalogue that log.opened announces.
const Schema = 1

// Severity is how much a line matters to a person.
type Severity int8

// The four severities, in rising order. They compare with < and >.
const (
	Debug Severity = iota
	Info
	Warn
	Error
)

var severityNames = [...]string{"DEBUG", "INFO", "WARN", "ERROR"}

// String is the severity as it stands in a line: DEBUG, INFO, WARN or ERROR.
func (s Severity) String() string {
	if s < Debug || s > Error {
		return "ERROR"
	}
	return severityNames[s]
}

// Level is the severity in the terms of log/slog, for the console.
func (s Severity) Level() slog.Level {
	return [...]slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}[min(max(s, Debug), Error)]
}

// ParseSeverity reads a severity as the config and the command line write it,
// in any case. ok is false for any other word.
func ParseSeverity(word string) (s Severity, ok bool) {
	for i, name := range severityNames {
		if equalFold(word, name) {
			return Severity(i), true
		}
	}
	return Info, false
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i]|0x20 != b[i]|0x20 {
			return false
		}
	}
	return true
}

// Event is one line of the log before it has a time and a sequence number.
// Implementations are plain structs whose exported fields are the event's own
// keys, in the order in which they are written.
type Event interface {
	// Name is the dotted name in the catalogue, such as "config.applied".
	Name() string
	// Severity may depend on what the event says: an apply that was not
	// verified is an error.
	Severity() Severity
	// Message is one plain English sentence that can be read alone. It is
	// never empty and never carries a secret.
	Message() string
}

// Sink takes events. The Writer is one; tests use their own.
type Sink interface {
	Log(Event)
}

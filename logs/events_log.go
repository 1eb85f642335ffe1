// SPDX-License-Identifier: Apache-2.0

package logs

import "fmt"

// Opened is the first line of every file.
type Opened struct {
	Schema  int    `json:"schema"`
	Version string `json:"version"`
	// File is the name that this file will have once it is rotated.
	File string `json:"file"`
	// Previous is the file before it, or null.
	Previous *string `json:"previous"`
	// RecoveredBytes is how much of a cut last line was removed from the
	// previous file at start.
	RecoveredBytes int64 `json:"recovered_bytes"`
}

func (Opened) Name() string       { return "log.opened" }
func (Opened) Severity() Severity { return Info }
func (e Opened) Message() string {
	if e.RecoveredBytes > 0 {
		return fmt.Sprintf("log file %s opened by plumbline %s; %d bytes of a cut last line were removed from the file before it", e.File, e.Version, e.RecoveredBytes)
	}
	return fmt.Sprintf("log file %s opened by plumbline %s", e.File, e.Version)
}

// Closed is the last line of a file that ended in good order.
type Closed struct {
	// Next is the file that goes on from here, or null at the end of the run.
	Next   *string `json:"next"`
	Lines  int64   `json:"lines"`
	Reason string  `json:"reason" enum:"size,age,signal,shutdown"`
}

func (Closed) Name() string       { return "log.closed" }
func (Closed) Severity() Severity { return Info }
func (e Closed) Message() string {
	if e.Next == nil {
		return fmt.Sprintf("log file closed after %d lines: %s", e.Lines, e.Reason)
	}
	return fmt.Sprintf("log file closed after %d lines (%s), the log goes on in %s", e.Lines, e.Reason, *e.Next)
}

// Dropped explains a hole in the sequence numbers.
type Dropped struct {
	Count    uint64 `json:"count"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Reason   string `json:"reason" pattern:"^(queue_full|write_error: .+)$"`
}

func (Dropped) Name() string       { return "log.dropped" }
func (Dropped) Severity() Severity { return Warn }
func (e Dropped) Message() string {
	return fmt.Sprintf("%d log lines (seq %d to %d) could not be written: %s", e.Count, e.FirstSeq, e.LastSeq, e.Reason)
}

// Diagnostic is a free line for what the catalogue has no event for.
type Diagnostic struct {
	Level Severity `json:"-"`
	Text  string   `json:"-"`
	// Error is the error's text, where there was one.
	Error string `json:"error,omitempty"`
}

func (Diagnostic) Name() string         { return "diagnostic" }
func (e Diagnostic) Severity() Severity { return e.Level }
func (e Diagnostic) Message() string {
	switch {
	case e.Text == "" && e.Error == "":
		return "a diagnostic without text"
	case e.Text == "":
		return e.Error
	case e.Error == "":
		return e.Text
	}
	return e.Text + ": " + e.Error
}

// CheckpointStarted begins the whole state of the relay, so that the log can be
// replayed from this file on.
type CheckpointStarted struct {
	Reason      string       `json:"reason" enum:"file,hole"`
	Generation  uint32       `json:"generation"`
	Digest      string       `json:"digest"`
	Intended    RouterConfig `json:"intended"`
	Offload     OffloadState `json:"offload"`
	Allocations int          `json:"allocations"`
}

// OffloadState is whether the router was meant to be attached, and what was
// read of the attachment.
type OffloadState struct {
	Intended   bool    `json:"intended"`
	Attached   bool    `json:"attached"`
	Mode       *string `json:"mode" enum:"native,generic"`
	ProgramTag *string `json:"program_tag"`
}

func (CheckpointStarted) Name() string       { return "checkpoint.started" }
func (CheckpointStarted) Severity() Severity { return Info }
func (e CheckpointStarted) Message() string {
	why := "for a new file"
	if e.Reason == "hole" {
		why = "after a hole in the log"
	}
	return fmt.Sprintf("checkpoint %s: config %d in force, %s", why, e.Generation, count(e.Allocations, "allocation"))
}

// CheckpointAllocation is one allocation whole, exact at its own seq.
type CheckpointAllocation struct {
	Allocation  string                 `json:"allocation"`
	Client      Addr                   `json:"client"`
	Transport   string                 `json:"transport" enum:"udp"`
	User        string                 `json:"user"`
	Relayed     []Addr                 `json:"relayed"`
	Expires     Time                   `json:"expires"`
	Permissions []CheckpointPermission `json:"permissions"`
	Channels    []CheckpointChannel    `json:"channels"`
	Routes      []Route                `json:"routes"`
}

// CheckpointPermission is one permission of a checkpointed allocation.
type CheckpointPermission struct {
	Peer    string `json:"peer"`
	Expires Time   `json:"expires"`
}

// CheckpointChannel is one channel of a checkpointed allocation.
type CheckpointChannel struct {
	Channel Channel `json:"channel"`
	Peer    Addr    `json:"peer"`
	Expires Time    `json:"expires"`
}

func (CheckpointAllocation) Name() string       { return "checkpoint.allocation" }
func (CheckpointAllocation) Severity() Severity { return Info }
func (e CheckpointAllocation) Message() string {
	return fmt.Sprintf("checkpoint: %s of %s at %s with %s, %s and %s", e.Allocation, e.User, e.Client,
		count(len(e.Permissions), "permission"), count(len(e.Channels), "channel"), count(len(e.Routes), "route"))
}

// CheckpointFinished ends a checkpoint: from here on the replayed state is exact.
type CheckpointFinished struct {
	Allocations int `json:"allocations"`
	Permissions int `json:"permissions"`
	Channels    int `json:"channels"`
	Routes      int `json:"routes"`
}

func (CheckpointFinished) Name() string       { return "checkpoint.finished" }
func (CheckpointFinished) Severity() Severity { return Info }
func (e CheckpointFinished) Message() string {
	return fmt.Sprintf("checkpoint finished: %s, %s, %s, %s", count(e.Allocations, "allocation"),
		count(e.Permissions, "permission"), count(e.Channels, "channel"), count(e.Routes, "route"))
}

// count writes a number with its noun in the right number.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"
)

// Decision is an event: the first packet of a flow under a generation, or an
// example of what was passed or dropped (per outcome and CPU the first
// SampleFirst, then one in SampleEvery). A hint for promptness: no sum depends
// on it.
type Decision struct {
	// TimeNS is CLOCK_MONOTONIC (coarse) in nanoseconds; 0 where there was no
	// valid config, and the clock was not read.
	TimeNS uint64
	Outcome
	// Generation is 0 where there was no valid config.
	Generation uint32
	// Flow is the flow number, or NoFlow.
	Flow uint32
	CPU  uint32
	// Ifindex is where the frame came in.
	Ifindex uint32
	// Length of the frame in bytes, as it left.
	Length uint32
	// Key is what the packet said of itself, as far as the router had read:
	// zero beyond.
	Key RouteKey
}

const (
	// NoFlow stands in a Decision for no flow number.
	NoFlow = ^uint32(0)
	// SampleFirst and SampleEvery say which passes and drops are reported.
	SampleFirst, SampleEvery = 4, 4096
)

// sizes and offsets in struct decision
const (
	decisionOutcome    = 8
	decisionGeneration = 12
	decisionFlow       = 16
	decisionCPU        = 20
	decisionIfindex    = 24
	decisionLength     = 28
	decisionKey        = 32
	decisionSize       = decisionKey + keySize
)

// Decisions reads the router's events. At most one reader should exist: readers
// share the ring and each event goes to one.
type Decisions struct{ ring *ringbuf.Reader }

// ErrClosed is what Read returns after Close.
var ErrClosed = ringbuf.ErrClosed

// Decisions opens the ring buffer for reading.
func (m *Maps) Decisions() (*Decisions, error) {
	ring, err := ringbuf.NewReader(m.kernel.Decisions)
	if err != nil {
		return nil, fmt.Errorf("read the router's decisions: %w", err)
	}
	return &Decisions{ring}, nil
}

// Read waits for the next event. The error matches os.ErrDeadlineExceeded once
// the deadline has passed and ErrClosed after Close.
func (d *Decisions) Read() (Decision, error) {
	record, err := d.ring.Read()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ringbuf.ErrClosed):
		return Decision{}, err
	case err != nil:
		return Decision{}, fmt.Errorf("read the router's decisions: %w", err)
	}
	return decodeDecision(record.RawSample)
}

// SetDeadline bounds Read; the zero time lifts the bound. A deadline in the past
// makes Read return what is there without waiting.
func (d *Decisions) SetDeadline(t time.Time) { d.ring.SetDeadline(t) }

// Close ends a Read under way.
func (d *Decisions) Close() error { return d.ring.Close() }

func decodeDecision(b []byte) (Decision, error) {
	if len(b) < decisionSize {
		return Decision{}, fmt.Errorf("a decision of %d bytes, want %d: the router is of another version", len(b), decisionSize)
	}
	outcome := int(binary.LittleEndian.Uint32(b[decisionOutcome:])) - firstOutcome
	if outcome < 0 || outcome >= len(outcomes) {
		return Decision{}, fmt.Errorf("a decision with outcome %d, there are %d: the router is of another version", outcome, len(outcomes))
	}
	return Decision{
		TimeNS:     binary.LittleEndian.Uint64(b),
		Outcome:    outcomes[outcome],
		Generation: binary.LittleEndian.Uint32(b[decisionGeneration:]),
		Flow:       binary.LittleEndian.Uint32(b[decisionFlow:]),
		CPU:        binary.LittleEndian.Uint32(b[decisionCPU:]),
		Ifindex:    binary.LittleEndian.Uint32(b[decisionIfindex:]),
		Length:     binary.LittleEndian.Uint32(b[decisionLength:]),
		Key:        decodeKey(b[decisionKey:]),
	}, nil
}

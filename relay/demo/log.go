// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"plumbline/logs"
	"plumbline/relay/stage"
)

// linePatience bounds the wait for one line: all that the demo waits for takes
// the relay a second or less, on an idle machine.
const linePatience = 15 * time.Second

// wait waits for the first line of an event after a seq for which match holds
// (nil: any).
func (s *set) wait(event string, after uint64, match func(stage.Line) bool) (stage.Line, error) {
	deadline := time.After(linePatience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		// Asked before the log is read, so that a relay's last lines count.
		ended := errors.Is(s.relay.Signal(syscall.Signal(0)), os.ErrProcessDone)
		lines, err := s.relay.Lines()
		if err != nil {
			return stage.Line{}, err
		}
		for _, l := range lines {
			if l.Event == event && l.Seq > after && (match == nil || match(l)) {
				return l, nil
			}
		}
		if ended {
			return stage.Line{}, fmt.Errorf("the relay ended before it logged %s; its last words were:\n%s", event, tail(s.relay.Console(), 10))
		}
		select {
		case <-tick.C:
		case <-deadline:
			return stage.Line{}, fmt.Errorf("its log has no %s to show after %s", event, linePatience)
		case <-s.ctx.Done():
			return stage.Line{}, s.ctx.Err()
		}
	}
}

// tail is the last n lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// lastSeq is the seq of the log's newest line, from which later ones are told.
func (s *set) lastSeq() (uint64, error) {
	lines, err := s.relay.Lines()
	if err != nil || len(lines) == 0 {
		return 0, err
	}
	return lines[len(lines)-1].Seq, nil
}

// carried is how many data packets each path has relayed since the run's start,
// and how many the router has passed up for want of a valid config.
type carried struct{ kernel, userspace, unset uint64 }

func (a carried) since(b carried) carried {
	return carried{a.kernel - b.kernel, a.userspace - b.userspace, a.unset - b.unset}
}

// share is the kernel's part in per cent.
func (a carried) share() float64 {
	if a.kernel+a.userspace == 0 {
		return 0
	}
	return 100 * float64(a.kernel) / float64(a.kernel+a.userspace)
}

func carriedIn(l stage.Line) (carried, error) {
	var c logs.DatapathCounters
	if err := l.Decode(&c); err != nil {
		return carried{}, fmt.Errorf("reading the log's counters: %w", err)
	}
	if c.Kernel == nil {
		return carried{}, fmt.Errorf("the log's counters have no kernel side: the router is not attached")
	}
	return carried{c.Kernel.Relayed, c.Userspace.Relayed, c.Kernel.Reasons["config_unset"]}, nil
}

// counters waits for the first counters after a seq for which enough holds (nil:
// any). They are written every second.
func (s *set) counters(after uint64, enough func(carried) bool) (carried, error) {
	var c carried
	_, err := s.wait("datapath.counters", after, func(l stage.Line) bool {
		var err error
		c, err = carriedIn(l)
		return err == nil && (enough == nil || enough(c))
	})
	return c, err
}

// countersNow are those of this moment, not of the last interval.
func (s *set) countersNow() (carried, error) {
	seq, err := s.lastSeq()
	if err != nil {
		return carried{}, err
	}
	return s.counters(seq, nil)
}

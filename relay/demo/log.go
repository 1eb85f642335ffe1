// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"plumbline/logs"
	"plumbline/relay/stage"
)

// wait waits for a line of the relay's log, as stage.Relay.Wait does, but not
// longer than the demo lasts.
func (s *set) wait(event string, after uint64, match func(stage.Line) bool) (stage.Line, error) {
	type found struct {
		l   stage.Line
		err error
	}
	c := make(chan found, 1)
	go func() {
		l, err := s.relay.Wait(event, after, match)
		c <- found{l, err}
	}()
	select {
	case f := <-c:
		return f.l, f.err
	case <-s.ctx.Done():
		return stage.Line{}, s.ctx.Err()
	}
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

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"plumbline/relay/stage"
)

// Each of coturn's clients makes two allocations and sends on one of them.
const (
	clients  = 2
	interval = 10 * time.Millisecond // between a client's messages
)

// traffic is a run of coturn's client in the background.
type traffic struct {
	s        *set
	messages int // in all
	before   carried
	done     chan struct{}
	got      stage.Traffic
	err      error
}

// start starts clients that send so many messages each to the peer, which sends
// each one back.
func (s *set) start(messages int) (*traffic, error) {
	before, err := s.countersNow()
	if err != nil {
		return nil, err
	}
	t := &traffic{s: s, messages: clients * messages, before: before, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.got, t.err = stage.Uclient{
			Server: s.bed.Host("relay").Addr(), Peer: s.bed.Host("peer").Addr(),
			Clients: clients, Messages: messages, Length: 171, Interval: interval,
		}.Run(s.ctx, s.bed.Host("client"))
	}()
	return t, nil
}

// flowing waits until the log says that the kernel relays this traffic.
func (t *traffic) flowing() error {
	_, err := t.s.counters(0, func(c carried) bool {
		return c.kernel >= t.before.kernel+2*clients
	})
	if err != nil {
		return fmt.Errorf("the kernel relays nothing of coturn's traffic: %w", err)
	}
	return t.running()
}

// running fails if the traffic has ended already: what was to happen under
// traffic then did not.
func (t *traffic) running() error {
	select {
	case <-t.done:
		if t.err != nil {
			return t.err
		}
		return fmt.Errorf("coturn's client ended too early to prove anything")
	default:
		return nil
	}
}

// finish waits for the end and fails if a message was lost. It returns what
// either path carried of it, as the log counts.
func (t *traffic) finish() (carried, error) {
	<-t.done
	if t.err != nil {
		return carried{}, t.err
	}
	if t.got.Sent != t.messages || t.got.Lost != 0 {
		return carried{}, fmt.Errorf("messages were lost: coturn's client sent %d (want %d) and got %d back", t.got.Sent, t.messages, t.got.Received)
	}
	var c carried
	packets := uint64(2 * t.messages) // there and back
	_, err := t.s.counters(0, func(now carried) bool {
		if now.kernel < t.before.kernel || now.userspace < t.before.userspace {
			return false // a line from before
		}
		c = now.since(t.before)
		return c.kernel+c.userspace >= packets
	})
	if err != nil {
		return carried{}, fmt.Errorf("the log accounts for %d of %d relayed packets: %w", c.kernel+c.userspace, packets, err)
	}
	return c, nil
}

// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"sync"
	"time"
)

// A stream is what goes one way through one allocation, with the account of
// what became of each of its packets: a bit a packet, so that a copy is told
// from an original however late it comes.
type stream struct {
	run      [8]byte
	identity identity

	mu   sync.Mutex
	sent uint32
	seen []uint64 // a bit a packet sent
	next uint32   // one more than the highest number that came
	last time.Duration
	took histogram
	received, duplicated, reordered,
	corrupted, misdelivered, foreign uint64
}

// issue makes the next packet in b. It counts as sent at once, because it may
// arrive before the sending call returns; withdraw takes that back.
func (s *stream) issue(b []byte, now func() time.Duration) {
	s.mu.Lock()
	p := packet{run: s.run, number: s.sent, stream: s.identity}
	if int(s.sent/64) == len(s.seen) {
		s.seen = append(s.seen, 0)
	}
	s.sent++
	s.mu.Unlock()
	p.at = now()
	p.write(b)
}

// withdraw says that the packet issued last did not leave.
func (s *stream) withdraw() {
	s.mu.Lock()
	s.sent--
	s.mu.Unlock()
}

// take accounts for a datagram that came where this stream ends. relayed says
// that it came from the relay, so that whatever it holds was meant to be one of
// ours.
func (s *stream) take(b []byte, relayed bool, now time.Duration) {
	p, intact := readPacket(b)
	ours := bytes.HasPrefix(b, s.run[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case intact && ours && p.stream != s.identity:
		s.misdelivered++
	case intact && ours && p.number < s.sent:
		s.accept(p, now)
	case !intact && (ours || relayed):
		s.corrupted++
	default: // of another run, or of somebody else
		s.foreign++
	}
}

func (s *stream) accept(p packet, now time.Duration) {
	word, bit := &s.seen[p.number/64], uint64(1)<<(p.number%64)
	if *word&bit != 0 {
		s.duplicated++
		return
	}
	*word |= bit
	s.received++
	s.last = now
	s.took.add(now - p.at)
	if p.number < s.next { // RFC 4737 §3.3
		s.reordered++
		return
	}
	s.next = p.number + 1
}

// complete says that nothing more is to come but copies.
func (s *stream) complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received+s.corrupted >= uint64(s.sent)
}

// addTo adds the stream's account to a direction's.
func (s *stream) addTo(d *Direction, took *histogram) (last time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Sent += uint64(s.sent)
	d.Received += s.received
	if came := s.received + s.corrupted; came < uint64(s.sent) {
		d.Lost += uint64(s.sent) - came
	}
	d.Duplicated += s.duplicated
	d.Reordered += s.reordered
	d.Corrupted += s.corrupted
	d.Misdelivered += s.misdelivered
	d.Foreign += s.foreign
	if took != nil {
		took.merge(&s.took)
	}
	return s.last
}

// SPDX-License-Identifier: Apache-2.0

// Package turn is the relay's TURN server (RFC 8656 over RFC 8489) without any
// input or output: datagrams, addresses and the time go in, effects come out.
//
// A Server holds allocations, permissions and channels. It binds no socket,
// reads no clock, starts no goroutine and writes no log; it says what should be
// done, as a list of effects, and one goroutine executes them in order. That
// makes every state reachable in a test, and every event of the log a statement
// about a state that was really held.
//
// Data packets never wait for the Server. Each change to an allocation publishes
// a View, immutable and complete, and the functions on it and in data.go are all
// that a datapath needs: they take no lock and allocate nothing.
package turn

import (
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
)

// Server is the core. It is not safe for concurrent use: one goroutine owns it.
// Every slice of effects that it returns is the caller's to keep.
type Server struct {
	cfg    Config
	random *rand.ChaCha8 // cryptographically strong: ports and tokens
	closed bool

	allocations map[FiveTuple]*allocation
	byID        map[string]*allocation
	byPublic    map[netip.AddrPort]*allocation
	byRelayed   map[netip.AddrPort]*allocation
	lastID      uint64

	pending      map[FiveTuple]*pending
	binding      map[netip.AddrPort]*pending // by the address that Bind asked for
	reservations map[token]*reservation
	taken        map[netip.AddrPort]struct{} // asked for, in use, or reserved
	held         map[string]int              // taken addresses by user

	timers   timers
	refused  refusals
	replies  limiter
	counters map[string]uint64

	request stun.Message // the last one decoded
	effects []Effect     // of the call in progress
}

// New is a server without allocations. The seed decides relayed ports and
// reservation tokens: it must be unpredictable, except in a test.
func New(cfg Config, seed [32]byte) *Server {
	random := rand.NewChaCha8(seed)
	return &Server{
		cfg:          cfg.normalized(),
		random:       random,
		allocations:  map[FiveTuple]*allocation{},
		byID:         map[string]*allocation{},
		byPublic:     map[netip.AddrPort]*allocation{},
		byRelayed:    map[netip.AddrPort]*allocation{},
		pending:      map[FiveTuple]*pending{},
		binding:      map[netip.AddrPort]*pending{},
		reservations: map[token]*reservation{},
		taken:        map[netip.AddrPort]struct{}{},
		held:         map[string]int{},
		replies:      limiter{key: [2]uint64{random.Uint64(), random.Uint64()}},
		counters:     map[string]uint64{},
		// Strict: what follows MESSAGE-INTEGRITY is not covered by it and must
		// be ignored (RFC 8489 §14.5).
		request: *stun.NewWithOptions(stun.WithStrict(true)),
	}
}

// Handle takes one STUN message from a client; data packets (ChannelData and
// Send indications) belong to the datapath and are counted and dropped here.
// Whatever was due at now expires first, so a late Tick changes no answer.
func (s *Server) Handle(now time.Time, from FiveTuple, datagram []byte) []Effect {
	s.expire(now)
	if s.closed {
		s.counters["closed"]++
		return s.take()
	}
	if r, ok := s.decode(now, from, datagram); ok {
		s.dispatch(r)
	}
	return s.take()
}

func (s *Server) dispatch(r *request) {
	if r.method == stun.MethodBinding {
		s.bindingRequest(r)
		return
	}
	if !s.authenticate(r) || !s.understood(r) {
		return
	}
	switch r.method {
	case stun.MethodAllocate:
		s.allocate(r)
	case stun.MethodRefresh:
		s.refresh(r)
	case stun.MethodCreatePermission:
		s.createPermission(r)
	case stun.MethodChannelBind:
		s.channelBind(r)
	}
}

// bindingRequest tells a client its reflexive address (RFC 8489 §2). It needs
// no credentials, and its answer is 12 bytes longer than the request at most.
func (s *Server) bindingRequest(r *request) {
	if s.understood(r) {
		s.succeed(r, mapped(r))
	}
}

// SocketFailed ends what lives on a relayed transport address whose socket can
// no longer be used.
func (s *Server) SocketFailed(now time.Time, relayed netip.AddrPort, err error) []Effect {
	s.expire(now)
	if a := s.byRelayed[relayed]; a != nil {
		if err != nil {
			s.report(logs.Diagnostic{Level: logs.Warn, Text: a.id + " lost its socket on " + relayed.String(), Error: err.Error()})
		}
		s.remove(now, a, "socket_error")
	}
	for _, res := range s.reservations {
		if res.relayed == relayed {
			s.dropReservation(res)
			break
		}
	}
	return s.take()
}

// Delete ends one allocation by its id; the reason is logged, and is "admin"
// when a person asked. An unknown id has no effect.
func (s *Server) Delete(now time.Time, id, reason string) []Effect {
	s.expire(now)
	if a := s.byID[id]; a != nil {
		s.remove(now, a, reason)
	}
	return s.take()
}

// Shutdown ends every allocation, gives back every port and says what refusals
// were still being counted. From then on requests are dropped, and a Bind that
// is still under way is released as soon as it is answered.
func (s *Server) Shutdown(now time.Time) []Effect {
	s.expire(now)
	for _, a := range s.inOrder() {
		s.remove(now, a, "shutdown")
	}
	for _, res := range s.reservations {
		s.dropReservation(res)
	}
	for _, p := range s.pending {
		s.abandon(p)
	}
	s.refused.flush(now, s.report)
	s.closed = true
	return s.take()
}

// Len is how many allocations live.
func (s *Server) Len() int { return len(s.byID) }

// View is one allocation as last published.
func (s *Server) View(id string) (v *View, ok bool) {
	a := s.byID[id]
	if a == nil {
		return nil, false
	}
	return a.view, true
}

// Views is every allocation as last published, oldest first.
func (s *Server) Views() iter.Seq[*View] {
	return func(yield func(*View) bool) {
		for _, a := range s.inOrder() {
			if !yield(a.view) {
				return
			}
		}
	}
}

// Stats counts control messages since New, by what became of them: answered
// ("success", "refused_401", …) or dropped ("malformed", "source_invalid", …).
// The set of keys is fixed by the code, whatever is received.
func (s *Server) Stats() map[string]uint64 {
	counts := make(map[string]uint64, len(s.counters))
	for reason, n := range s.counters {
		counts[reason] = n
	}
	return counts
}

func (s *Server) inOrder() []*allocation {
	all := make([]*allocation, 0, len(s.byID))
	for _, a := range s.byID {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *allocation) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return all
}

func (s *Server) do(e Effect)         { s.effects = append(s.effects, e) }
func (s *Server) report(e logs.Event) { s.do(Report{e}) }

// take hands over the effects of one call. The slice is not used again: the
// executor may call Bound while it is still going through an earlier one.
func (s *Server) take() []Effect {
	effects := s.effects
	s.effects = nil
	return effects
}

func (s *Server) newID() (string, uint64) {
	s.lastID++
	return "a-" + strconv.FormatUint(s.lastID, 10), s.lastID
}

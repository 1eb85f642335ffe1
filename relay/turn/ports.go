// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"net/netip"
	"time"
)

// bindAttempts bounds how often one Allocate tries another port after the
// executor could not bind the one before.
const bindAttempts = 8

// pair says what an Allocate asked of its port with EVEN-PORT (RFC 8656 §18.5).
type pair int

const (
	anyPort  pair = iota
	evenPort      // an even one
	evenPair      // an even one, and the next-higher one held for later
)

// choosePort picks a relayed port at random (RFC 6056): which one comes next
// must not be guessable, or an attacker sends to it before its owner does. It
// tries some at random and then looks at each one, so that "none" is certain.
// Ports in tried failed to bind a moment ago.
func (s *Server) choosePort(want pair, tried []uint16) (netip.AddrPort, bool) {
	low, high := int(s.cfg.LowestPort), int(s.cfg.HighestPort)
	low = max(low, 1)
	step := 1
	if want != anyPort {
		low += low % 2
		step = 2
	}
	last := high
	if want == evenPair {
		last = high - 1
	}
	if low > last || !s.cfg.RelayIPv4.IsValid() {
		return netip.AddrPort{}, false
	}
	count := (last-low)/step + 1
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(s.cfg.RelayIPv4, uint16(low+i%count*step))
	}
	free := func(a netip.AddrPort) bool {
		for _, port := range tried {
			if port == a.Port() {
				return false
			}
		}
		_, taken := s.taken[a]
		if want == evenPair && !taken {
			_, taken = s.taken[above(a)]
		}
		return !taken
	}
	const guesses = 16
	for range guesses {
		if a := at(s.below(count)); free(a) {
			return a, true
		}
	}
	first := s.below(count)
	for i := range count {
		if a := at(first + i); free(a) {
			return a, true
		}
	}
	return netip.AddrPort{}, false
}

// below is a uniformly random number from 0 to n-1. Counts of ports are so far
// below 2^64 that the modulo's bias is none.
func (s *Server) below(n int) int { return int(s.random.Uint64() % uint64(n)) }

func above(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), a.Port()+1) }

// takeAddress marks a relayed transport address as somebody's.
func (s *Server) takeAddress(a netip.AddrPort, user string) {
	s.taken[a] = struct{}{}
	s.held[user]++
}

// freeAddress undoes takeAddress.
func (s *Server) freeAddress(a netip.AddrPort, user string) {
	delete(s.taken, a)
	if s.held[user]--; s.held[user] == 0 {
		delete(s.held, user)
	}
}

// token names a reservation (RFC 8656 §18.8).
type token [8]byte

// reservation is a bound port without an allocation: the odd one of a pair.
// It counts against its user's quota, because it is a port that nobody else
// gets; the allocation that claims it takes over its place.
type reservation struct {
	token   token
	user    string
	relayed netip.AddrPort
	public  netip.AddrPort
	timer   timer
}

func (s *Server) reserve(now time.Time, user string, relayed, public netip.AddrPort) token {
	res := &reservation{user: user, relayed: relayed, public: public}
	for {
		s.random.Read(res.token[:]) // never fails
		if _, used := s.reservations[res.token]; !used {
			break
		}
	}
	s.reservations[res.token] = res
	res.timer = timer{at: now.Add(ReservationLifetime), reservation: res}
	s.timers.set(&res.timer)
	return res.token
}

// claim ends a reservation without giving its port back.
func (s *Server) claim(res *reservation) {
	delete(s.reservations, res.token)
	s.timers.drop(&res.timer)
}

// dropReservation gives back a port that nobody claimed.
func (s *Server) dropReservation(res *reservation) {
	s.claim(res)
	s.freeAddress(res.relayed, res.user)
	s.do(Release{res.relayed})
}

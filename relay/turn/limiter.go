// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"time"
)

// limiter bounds how many answers per second leave for requests that prove
// nothing about their source, so that the relay is no use as a reflector. Its
// memory is fixed: source prefixes share buckets by a keyed hash, and under a
// spoofed flood the worst is that a newcomer's first request waits for its
// retransmission. Authenticated requests never pass through here.
type limiter struct {
	key     [2]uint64
	buckets [1024]bucket
}

// bucket holds tokens; its zero value has been filling up for ever.
type bucket struct {
	tokens float64
	filled int64 // Unix time in nanoseconds
}

// take is true while the bucket has a token. It gains perSecond tokens a
// second and holds burst at most; a clock that goes back adds none.
func (b *bucket) take(now time.Time, perSecond, burst float64) bool {
	at := now.UnixNano()
	if elapsed := time.Duration(at - b.filled).Seconds(); b.filled == 0 || elapsed > burst/perSecond {
		b.tokens = burst
	} else if elapsed > 0 {
		b.tokens = min(burst, b.tokens+elapsed*perSecond)
	}
	b.filled = at
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (l *limiter) allow(now time.Time, client netip.Addr, perSecond int) bool {
	b := sourcePrefix(client).Addr().As16()
	high, low := bits.Mul64(binary.BigEndian.Uint64(b[:])^l.key[0], binary.BigEndian.Uint64(b[8:])^l.key[1])
	return l.buckets[(high^low)%uint64(len(l.buckets))].take(now, float64(perSecond), 2*float64(perSecond))
}

// sourcePrefix is what one customer usually has: answers and log lines are
// bounded by it, because the addresses inside cost an attacker nothing.
func sourcePrefix(a netip.Addr) netip.Prefix {
	length := 56
	if a.Is4() {
		length = 24
	}
	p, _ := a.WithZone("").Prefix(length)
	return p
}

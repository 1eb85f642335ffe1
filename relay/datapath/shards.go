// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"maps"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"plumbline/relay/turn"
)

const shardCount = 256 // a power of two

// shards is a map whose readers take no lock: each of its parts is an immutable
// map behind an atomic pointer, and a writer replaces the one part that it
// changes. With 16,384 allocations a write copies some 64 entries.
type shards[K comparable, V any] struct {
	hash  func(K) uint64
	write sync.Mutex
	parts [shardCount]atomic.Pointer[map[K]V]
}

func (s *shards[K, V]) part(key K) *atomic.Pointer[map[K]V] {
	return &s.parts[s.hash(key)%shardCount]
}

// get is the value of key, or the zero value.
func (s *shards[K, V]) get(key K) V {
	if m := s.part(key).Load(); m != nil {
		return (*m)[key]
	}
	var none V
	return none
}

func (s *shards[K, V]) set(key K, value V) {
	s.change(key, func(m map[K]V) { m[key] = value })
}

func (s *shards[K, V]) remove(key K) {
	s.change(key, func(m map[K]V) { delete(m, key) })
}

func (s *shards[K, V]) change(key K, edit func(map[K]V)) {
	s.write.Lock()
	defer s.write.Unlock()
	part := s.part(key)
	var next map[K]V
	if m := part.Load(); m != nil {
		next = maps.Clone(*m)
	} else {
		next = make(map[K]V, 1)
	}
	edit(next)
	part.Store(&next)
}

// A mixer spreads addresses over shards. Its key is random per process, so that
// a client that picks its own ports can't aim at one shard.
type mixer struct{ a, b uint64 }

func newMixer() mixer { return mixer{rand.Uint64(), rand.Uint64()} }

func (m mixer) address(p netip.AddrPort) uint64 {
	raw := p.Addr().As16()
	h := m.fold(m.a^binary.NativeEndian.Uint64(raw[:8]), m.b^binary.NativeEndian.Uint64(raw[8:]))
	return m.fold(h^uint64(p.Port()), m.b)
}

func (m mixer) tuple(t turn.FiveTuple) uint64 {
	return m.fold(m.address(t.Client), m.address(t.Server)^m.a)
}

func (mixer) fold(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y|1)
	return hi ^ lo
}

// SPDX-License-Identifier: Apache-2.0

package load

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// A packet is a payload: a header, and pseudo-random bytes up to the size asked
// for, so that no two are alike and none compresses or compares equal by luck.
//
//	0  run     8 bytes, random, the same for all of a run
//	8  number  4 bytes, of the packet in its stream, from 0
//	12 index   2 bytes, of the allocation
//	14 way     1 byte
//	15 zero    1 byte
//	16 at      8 bytes, when it was sent: nanoseconds since the run's start
//	24 sum     4 bytes, CRC-32C of all other bytes; it finds every error that
//	           lies within 32 bits, so a wrong byte always (RFC 9260 appendix A)
//
// Numbers are big-endian.
type packet struct {
	run    [8]byte
	number uint32
	stream identity
	at     time.Duration
}

// An identity tells the streams of a run apart.
type identity struct {
	index uint16
	way   way
}

// A way is the direction that a packet takes through the relay.
type way byte

const (
	toPeers way = iota
	toClients
	ways
)

const headerSize = 28

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // read only

// write fills b, at least headerSize long, with the packet.
func (p packet) write(b []byte) {
	copy(b, p.run[:])
	binary.BigEndian.PutUint32(b[8:], p.number)
	binary.BigEndian.PutUint16(b[12:], p.stream.index)
	b[14], b[15] = byte(p.stream.way), 0
	binary.BigEndian.PutUint64(b[16:], uint64(p.at))
	fill(b[headerSize:], binary.BigEndian.Uint64(b)^binary.BigEndian.Uint64(b[8:]))
	binary.BigEndian.PutUint32(b[24:], sum(b))
}

// readPacket is the packet in b; intact is false when any byte differs from
// what was written, or when some are missing or too many.
func readPacket(b []byte) (p packet, intact bool) {
	if len(b) < headerSize {
		return p, false
	}
	copy(p.run[:], b)
	p.number = binary.BigEndian.Uint32(b[8:])
	p.stream = identity{binary.BigEndian.Uint16(b[12:]), way(b[14])}
	p.at = time.Duration(binary.BigEndian.Uint64(b[16:]))
	return p, binary.BigEndian.Uint32(b[24:]) == sum(b)
}

func sum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:24], castagnoli), castagnoli, b[headerSize:])
}

// fill writes the sequence of SplitMix64 (Steele, Lea, Flood 2014) from a seed.
func fill(b []byte, seed uint64) {
	for len(b) > 0 {
		seed += 0x9e3779b97f4a7c15
		z := (seed ^ seed>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], z^z>>31)
		b = b[copy(b, word[:]):]
	}
}

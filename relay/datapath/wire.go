// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

const cookie = 0x2112A442

func isChannelData(b []byte) bool { return len(b) >= 1 && b[0] >= 0x40 && b[0] <= 0x7F }

func parseChannelData(b []byte) (number uint16, payload []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b)-4 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[4 : 4+n], true
}

func appendChannelData(dst []byte, number uint16, payload []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, number)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	return append(dst, payload...)
}

func isSTUN(b []byte) bool {
	return len(b) >= 20 && b[0]&0xC0 == 0 && binary.BigEndian.Uint32(b[4:]) == cookie &&
		int(binary.BigEndian.Uint16(b[2:])) == len(b)-20 && len(b)%4 == 0
}

func isSend(b []byte) bool { return binary.BigEndian.Uint16(b) == 0x0016 }

func parseSend(b []byte) (peer netip.AddrPort, payload []byte, ok bool) {
	id := b[4:20]
	rest := b[20:]
	for len(rest) >= 4 {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (size + 3) &^ 3
		if 4+padded > len(rest) {
			return peer, nil, false
		}
		value := rest[4 : 4+size]
		rest = rest[4+padded:]
		switch {
		case kind == 0x0012 && !peer.IsValid():
			if peer, ok = parsePeer(value, id); !ok {
				return peer, nil, false
			}
		case kind == 0x0013 && payload == nil:
			payload = value
		case kind < 0x8000 && kind != 0x0012 && kind != 0x0013:
			return peer, nil, false
		}
	}
	return peer, payload, peer.IsValid() && payload != nil && len(rest) == 0
}

func parsePeer(v, id []byte) (netip.AddrPort, bool) {
	if len(v) < 8 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(v[2:]) ^ cookie>>16
	switch {
	case v[1] == 1 && len(v) == 8:
		var a [4]byte
		for i := range a {
			a[i] = v[4+i] ^ id[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom4(a), port), true
	case v[1] == 2 && len(v) == 20:
		var a [16]byte
		for i := range a {
			a[i] = v[4+i] ^ id[i]
		}
		return netip.AddrPortFrom(netip.AddrFrom16(a), port), true
	}
	return netip.AddrPort{}, false
}

// appendDataIndication writes a Data indication (RFC 8656 §11.4).
func appendDataIndication(dst []byte, peer netip.AddrPort, payload []byte) []byte {
	family, size := byte(1), 8
	if peer.Addr().Is6() {
		family, size = 2, 20
	}
	start := len(dst)
	padding := -len(payload) & 3
	dst = binary.BigEndian.AppendUint16(dst, 0x0017)
	dst = binary.BigEndian.AppendUint16(dst, uint16(4+size+4+len(payload)+padding))
	dst = binary.BigEndian.AppendUint32(dst, cookie)
	dst = binary.BigEndian.AppendUint64(dst, rand.Uint64())
	dst = binary.BigEndian.AppendUint32(dst, rand.Uint32())
	id := dst[start+4 : start+20]
	dst = binary.BigEndian.AppendUint16(dst, 0x0012)
	dst = binary.BigEndian.AppendUint16(dst, uint16(size))
	dst = append(dst, 0, family)
	dst = binary.BigEndian.AppendUint16(dst, peer.Port()^cookie>>16)
	raw := peer.Addr().As16()
	from := raw[:]
	if family == 1 {
		from = raw[12:]
	}
	for i, b := range from {
		dst = append(dst, b^id[i])
	}
	dst = binary.BigEndian.AppendUint16(dst, 0x0013)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	dst = append(dst, payload...)
	return append(dst, 0, 0, 0)[:len(dst)+padding]
}

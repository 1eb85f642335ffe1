// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"

	"github.com/pion/stun/v3"
)

// Data packets are handled by these functions and the methods of View alone,
// on any goroutine, without allocating.

// MaxPayload is the most that fits into one UDP datagram over IPv4, in bytes.
const MaxPayload = 65507

const (
	channelHeader  = 4
	messageHeader  = 20
	typeSend       = 0x0016 // RFC 8656 §17
	typeData       = 0x0017
	xorFingerprint = 0x5354554E
)

// IsChannelData tells ChannelData from STUN by its first two bits (RFC 8656
// §12.5).
func IsChannelData(b []byte) bool { return len(b) >= channelHeader && b[0]>>6 == 1 }

// ParseChannelData reads a ChannelData message. The payload is part of b. Over
// UDP padding is allowed and whatever follows the payload is ignored; ok is
// false when the length says more than is there.
func ParseChannelData(b []byte) (number uint16, payload []byte, ok bool) {
	if !IsChannelData(b) {
		return 0, nil, false
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if length > len(b)-channelHeader {
		return 0, nil, false
	}
	end := channelHeader + length
	return binary.BigEndian.Uint16(b), b[channelHeader:end:end], true
}

// AppendChannelData appends a ChannelData message without padding, as is usual
// over UDP. The payload must not exceed 65,535 bytes.
func AppendChannelData(dst []byte, number uint16, payload []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, number)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	return append(dst, payload...)
}

// IsSend is true for what claims to be a Send indication; ParseSend then says
// whether it is one.
func IsSend(b []byte) bool {
	return len(b) >= messageHeader && binary.BigEndian.Uint16(b) == typeSend &&
		binary.BigEndian.Uint32(b[4:]) == magicCookie
}

// ParseSend reads a Send indication (RFC 8656 §11.2). The payload is part of b.
// Of an attribute that is repeated the first counts, and nothing after a
// MESSAGE-INTEGRITY does, although an indication has no use for one. A
// FINGERPRINT is verified. err is a Reason to drop the indication without an
// answer; when dontFragment is true, whoever can't set DF must drop it as well.
func ParseSend(b []byte) (peer netip.AddrPort, payload []byte, dontFragment bool, err error) {
	none := netip.AddrPort{}
	if !IsSend(b) || !wholeMessage(b) {
		return none, nil, false, Malformed
	}
	var hasPeer, hasData, signed bool
	for at := messageHeader; at < len(b); {
		// Both lengths are multiples of four, so a header always fits.
		t := stun.AttrType(binary.BigEndian.Uint16(b[at:]))
		length := int(binary.BigEndian.Uint16(b[at+2:]))
		value := b[at+4:]
		if length > len(value) {
			return none, nil, false, Malformed
		}
		value = value[:length:length]
		start := at
		at += 4 + (length+3)&^3
		switch {
		case t == stun.AttrFingerprint:
			if at != len(b) || length != 4 ||
				binary.BigEndian.Uint32(value) != crc32.ChecksumIEEE(b[:start])^xorFingerprint {
				return none, nil, false, BadFingerprint
			}
		case signed:
		case t == stun.AttrMessageIntegrity:
			signed = true
		case t == stun.AttrXORPeerAddress && !hasPeer:
			var ok bool
			if peer, ok = xorPeer(value, (*[stun.TransactionIDSize]byte)(b[8:20])); !ok {
				return none, nil, false, Malformed
			}
			if peer.Port() == 0 || peer.Addr().Is4In6() {
				return none, nil, false, PeerInvalid
			}
			hasPeer = true
		case t == stun.AttrData && !hasData:
			payload, hasData = value, true
		case t == stun.AttrDontFragment:
			dontFragment = true
		case t.Required() && !known(t):
			return none, nil, false, UnknownAttribute
		}
	}
	if !hasPeer || !hasData {
		return none, nil, false, MissingAttribute
	}
	return peer, payload, dontFragment, nil
}

// DataOverhead bounds what AppendDataIndication adds to a payload, in bytes:
// the header, an IPv6 peer, and the header and padding of DATA.
const DataOverhead = messageHeader + 24 + 4 + 3

// AppendDataIndication appends a Data indication (RFC 8656 §11.3) with a
// transaction id from random. The payload must not exceed 65,480 bytes, so that
// the message's length can be written.
func AppendDataIndication(dst []byte, peer netip.AddrPort, payload []byte, random rand.Source) []byte {
	start := len(dst)
	dst = append(dst, typeData>>8, typeData&0xFF, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, magicCookie)
	dst = binary.BigEndian.AppendUint64(dst, random.Uint64())
	dst = binary.BigEndian.AppendUint32(dst, uint32(random.Uint64()))

	addr := peer.Addr()
	family, size := byte(familyIPv6), 16
	var ip [16]byte
	if addr.Is4() {
		family, size = familyIPv4, 4
		v4 := addr.As4()
		copy(ip[:], v4[:])
	} else {
		ip = addr.As16()
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(stun.AttrXORPeerAddress))
	dst = append(dst, 0, byte(4+size), 0, family)
	dst = binary.BigEndian.AppendUint16(dst, peer.Port()^magicCookie>>16)
	for i := range size {
		// The cookie and the transaction id stand next to each other.
		dst = append(dst, ip[i]^dst[start+4+i])
	}

	dst = binary.BigEndian.AppendUint16(dst, uint16(stun.AttrData))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(payload)))
	dst = append(dst, payload...)
	for n := len(payload); n%4 != 0; n++ {
		dst = append(dst, 0)
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start-messageHeader))
	return dst
}

// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"net/netip"
)

const (
	etherHeader   = 14
	ipHeader      = 20
	udpHeader     = 8
	channelHeader = 4
)

// datagram is an IPv4 UDP datagram in an Ethernet frame, taken apart.
type datagram struct {
	dstMAC, srcMAC [6]byte
	tos            byte
	id             uint16
	fragment       uint16 // flags and offset
	ttl            byte
	src, dst       netip.AddrPort
	payload        []byte

	// How wrong the checksums are: given less right, modulo 65535. A router
	// that changes checksums in place hands that on, neither hiding an error
	// nor making one.
	ipError, udpError uint32
	noUDPChecksum     bool
}

// parse takes a frame apart whose lengths have been checked.
func parse(frame []byte) datagram {
	be := binary.BigEndian
	ip := frame[etherHeader:]
	total := int(be.Uint16(ip[2:]))
	udp := ip[ipHeader:total]
	d := datagram{
		dstMAC:   [6]byte(frame[0:6]),
		srcMAC:   [6]byte(frame[6:12]),
		tos:      ip[1],
		id:       be.Uint16(ip[4:]),
		fragment: be.Uint16(ip[6:]),
		ttl:      ip[8],
		src:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), be.Uint16(udp)),
		dst:      netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), be.Uint16(udp[2:])),
		payload:  udp[udpHeader:],
	}
	right := d.build(true)[etherHeader:]
	d.ipError = difference(be.Uint16(ip[10:]), be.Uint16(right[10:]))
	if given := be.Uint16(udp[6:]); given == 0 {
		d.noUDPChecksum = true
	} else {
		d.udpError = difference(given, be.Uint16(right[ipHeader+6:]))
	}
	return d
}

func difference(given, right uint16) uint32 {
	return (uint32(given) + 65535 - uint32(right)) % 65535
}

// build puts the datagram together again, with every sum made from scratch.
func (d datagram) build(udpChecksum bool) []byte {
	be := binary.BigEndian
	length := udpHeader + len(d.payload)
	frame := make([]byte, etherHeader+ipHeader+length)
	copy(frame, d.dstMAC[:])
	copy(frame[6:], d.srcMAC[:])
	be.PutUint16(frame[12:], 0x0800)

	ip := frame[etherHeader:]
	src, dst := d.src.Addr().As4(), d.dst.Addr().As4()
	ip[0] = 0x45
	ip[1] = d.tos
	be.PutUint16(ip[2:], uint16(ipHeader+length))
	be.PutUint16(ip[4:], d.id)
	be.PutUint16(ip[6:], d.fragment)
	ip[8] = d.ttl
	ip[9] = 17
	copy(ip[12:], src[:])
	copy(ip[16:], dst[:])
	// A header is never all zeros, so its sum is never 0, nor its checksum
	// 0xffff: that one stands for 0.
	be.PutUint16(ip[10:], uint16((uint32(checksum(ip[:ipHeader]))+d.ipError)%65535))

	udp := ip[ipHeader:]
	be.PutUint16(udp, d.src.Port())
	be.PutUint16(udp[2:], d.dst.Port())
	be.PutUint16(udp[4:], uint16(length))
	copy(udp[udpHeader:], d.payload)
	if !udpChecksum || d.noUDPChecksum {
		return frame
	}
	pseudo := append(append([]byte{}, src[:]...), dst[:]...)
	pseudo = append(pseudo, 0, 17, byte(length>>8), byte(length))
	sum := uint16((uint32(checksum(append(pseudo, udp...))) + d.udpError) % 65535)
	if sum == 0 { // would say: none (RFC 768)
		sum = 0xffff
	}
	be.PutUint16(udp[6:], sum)
	return frame
}

// checksum is that of RFC 1071, over bytes whose checksum field is zero.
func checksum(b []byte) uint16 {
	var sum uint32
	for i, v := range b {
		if i%2 == 0 {
			sum += uint32(v) << 8
		} else {
			sum += uint32(v)
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

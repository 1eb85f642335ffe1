// SPDX-License-Identifier: Apache-2.0

package main

import "encoding/binary"

// endpointAddress is where a UDP datagram comes from or goes to, and the frame
// that carries it.
type endpointAddress struct {
	mac     [6]byte
	address [4]byte
	port    uint16
}

const (
	ethernetSize = 14
	ipSize       = 20
	udpSize      = 8
	headersSize  = ethernetSize + ipSize + udpSize
)

// frame makes the Ethernet frame of an IPv4 UDP datagram, with both checksums
// (RFC 791, RFC 768).
func frame(from, to endpointAddress, payload []byte) []byte {
	b := make([]byte, headersSize, headersSize+len(payload))
	copy(b, to.mac[:])
	copy(b[6:], from.mac[:])
	binary.BigEndian.PutUint16(b[12:], 0x0800) // IPv4
	ip := b[ethernetSize:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17 // no options; TTL; UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(ipSize+udpSize+len(payload)))
	copy(ip[12:], from.address[:])
	copy(ip[16:], to.address[:])
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:ipSize], 0))
	udp := ip[ipSize:]
	binary.BigEndian.PutUint16(udp, from.port)
	binary.BigEndian.PutUint16(udp[2:], to.port)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpSize+len(payload)))
	b = append(b, payload...)
	pseudo := uint32(17) + uint32(udpSize+len(payload))
	for i := 12; i < ipSize; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	check := checksum(b[ethernetSize+ipSize:], pseudo)
	if check == 0 {
		check = 0xffff // 0 would say that there is none
	}
	binary.BigEndian.PutUint16(b[headersSize-2:], check)
	return b
}

// checksum is the Internet checksum (RFC 1071) of b and what was summed before.
func checksum(b []byte, sum uint32) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// RouteKey is what a packet says of itself, and the key of the map routes.
// Each direction of a channel has its own.
type RouteKey struct {
	Remote  netip.AddrPort // the packet's source: the client, or the peer
	Local   netip.AddrPort // its destination: the listen, or the relayed address
	Channel uint16         // of the ChannelData header; 0 on the peer's side
	// Reserved is 0 in every key that the router asks for. It is here so that
	// a key which something else wrote can be named, and deleted.
	Reserved uint16
}

// String is "remote → local", with the channel if there is one.
func (k RouteKey) String() string {
	if k.Channel == 0 {
		return fmt.Sprintf("%s → %s", k.Remote, k.Local)
	}
	return fmt.Sprintf("%s → %s channel 0x%04x", k.Remote, k.Local, k.Channel)
}

// Flow is what becomes of the packets of one route. Nothing but ExpiryNS may
// change while routes point to its number: whatever else changes takes a new
// number, and a number may be used again one GracePeriod after the last route
// to it is gone.
type Flow struct {
	// Key is the route's: the router relays only if the packet has it too.
	Key RouteKey
	// Source and Destination are what the packet carries on.
	Source, Destination netip.AddrPort
	// Channel is the number of the ChannelData header to insert; with 0, the
	// packet's is stripped.
	Channel uint16
	// Ifindex is the interface to send from. 0: the next hop is not known, and
	// packets pass up.
	Ifindex uint32
	// SrcMAC and DstMAC are the Ethernet addresses of that interface and of the
	// next hop.
	SrcMAC, DstMAC [6]byte
	// MTU is the largest IP packet, in bytes, that the way out takes.
	MTU uint16
	// ExpiryNS is CLOCK_MONOTONIC in nanoseconds: dead from then on.
	ExpiryNS uint64
}

// sizes and offsets, see struct route_key and struct flow in maps.h
const (
	keySize          = 40
	keyLocal         = 16
	keyRemotePort    = 32
	keyLocalPort     = 34
	keyChannel       = 36
	keyReserved      = 38
	flowSize         = 112
	flowSource       = 40
	flowDestination  = 56
	flowSourcePort   = 72
	flowDestPort     = 74
	flowChannel      = 76
	flowMTU          = 78
	flowIfindex      = 80
	flowDstMAC       = 84
	flowSrcMAC       = 90
	flowExpiry       = 96
	flowSerial       = 104
	flowCountersSize = 24
	flowNumberSize   = 4
)

func putAddr(b []byte, a netip.Addr) {
	raw := a.As16() // IPv4 as ::ffff:a.b.c.d, the zero Addr as zeros
	copy(b, raw[:])
}

// addr reads 16 bytes. Zeros are the zero Addr: an empty value reads as empty.
func addr(b []byte) netip.Addr {
	raw := [16]byte(b)
	if raw == ([16]byte{}) {
		return netip.Addr{}
	}
	return netip.AddrFrom16(raw).Unmap()
}

func (k RouteKey) encode() [keySize]byte {
	var b [keySize]byte
	putAddr(b[:], k.Remote.Addr())
	putAddr(b[keyLocal:], k.Local.Addr())
	binary.BigEndian.PutUint16(b[keyRemotePort:], k.Remote.Port())
	binary.BigEndian.PutUint16(b[keyLocalPort:], k.Local.Port())
	binary.BigEndian.PutUint16(b[keyChannel:], k.Channel)
	binary.BigEndian.PutUint16(b[keyReserved:], k.Reserved)
	return b
}

func decodeKey(b []byte) RouteKey {
	return RouteKey{
		Remote:   netip.AddrPortFrom(addr(b[:keyLocal]), binary.BigEndian.Uint16(b[keyRemotePort:])),
		Local:    netip.AddrPortFrom(addr(b[keyLocal:keyRemotePort]), binary.BigEndian.Uint16(b[keyLocalPort:])),
		Channel:  binary.BigEndian.Uint16(b[keyChannel:]),
		Reserved: binary.BigEndian.Uint16(b[keyReserved:]),
	}
}

// encode lays f out for the kernel. The serial tells the router that the number
// has a new user, whose first packet is worth an event.
func (f Flow) encode(serial uint32) [flowSize]byte {
	var b [flowSize]byte
	key := f.Key.encode()
	copy(b[:], key[:])
	putAddr(b[flowSource:], f.Source.Addr())
	putAddr(b[flowDestination:], f.Destination.Addr())
	binary.BigEndian.PutUint16(b[flowSourcePort:], f.Source.Port())
	binary.BigEndian.PutUint16(b[flowDestPort:], f.Destination.Port())
	binary.BigEndian.PutUint16(b[flowChannel:], f.Channel)
	binary.LittleEndian.PutUint16(b[flowMTU:], f.MTU)
	binary.LittleEndian.PutUint32(b[flowIfindex:], f.Ifindex)
	copy(b[flowDstMAC:], f.DstMAC[:])
	copy(b[flowSrcMAC:], f.SrcMAC[:])
	binary.LittleEndian.PutUint64(b[flowExpiry:], f.ExpiryNS)
	binary.LittleEndian.PutUint32(b[flowSerial:], serial)
	return b
}

func decodeFlow(b []byte) Flow {
	return Flow{
		Key:         decodeKey(b),
		Source:      netip.AddrPortFrom(addr(b[flowSource:flowDestination]), binary.BigEndian.Uint16(b[flowSourcePort:])),
		Destination: netip.AddrPortFrom(addr(b[flowDestination:flowSourcePort]), binary.BigEndian.Uint16(b[flowDestPort:])),
		Channel:     binary.BigEndian.Uint16(b[flowChannel:]),
		MTU:         binary.LittleEndian.Uint16(b[flowMTU:]),
		Ifindex:     binary.LittleEndian.Uint32(b[flowIfindex:]),
		DstMAC:      [6]byte(b[flowDstMAC:]),
		SrcMAC:      [6]byte(b[flowSrcMAC:]),
		ExpiryNS:    binary.LittleEndian.Uint64(b[flowExpiry:]),
	}
}

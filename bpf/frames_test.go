// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"encoding/binary"
	"net/netip"

	"plumbline/bpf"
	"plumbline/bpf/model"
)

// The scene of the packet tests: one client with a channel to one peer.
var (
	client  = netip.MustParseAddrPort("198.51.100.4:40112")
	listen  = netip.MustParseAddrPort("192.0.2.7:3478")
	relayed = netip.MustParseAddrPort("192.0.2.7:50012")
	peer    = netip.MustParseAddrPort("203.0.113.9:9000")

	relayMAC  = [6]byte{2, 0, 0, 0, 0, 1}
	clientMAC = [6]byte{2, 0, 0, 0, 0, 2}
	peerMAC   = [6]byte{2, 0, 0, 0, 0, 3}
)

const (
	channel = 0x4000
	never   = ^uint64(0)

	flowToPeer   = 0
	flowToClient = 1
)

func goodConfig() bpf.Config {
	return bpf.Config{
		Generation: 7, Enabled: true, UDPChecksum: true,
		LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478},
	}
}

// scene holds both directions.
func scene() model.Router {
	toPeer := bpf.Flow{
		Key:    bpf.RouteKey{Remote: client, Local: listen, Channel: channel},
		Source: relayed, Destination: peer,
		Ifindex: 1, SrcMAC: relayMAC, DstMAC: peerMAC, MTU: 1500, ExpiryNS: never,
	}
	toClient := bpf.Flow{
		Key:    bpf.RouteKey{Remote: peer, Local: relayed},
		Source: listen, Destination: client, Channel: channel,
		Ifindex: 1, SrcMAC: relayMAC, DstMAC: clientMAC, MTU: 1500, ExpiryNS: never,
	}
	return model.Router{
		Slots:  [2]bpf.Slot{goodConfig().Encode()},
		Active: bpf.Active{Slot: 0, LeaseUntil: never},
		Routes: map[bpf.RouteKey]uint32{toPeer.Key: flowToPeer, toClient.Key: flowToClient},
		Flows:  []bpf.Flow{toPeer, toClient, {}, {}},
	}
}

// udpFrame builds a datagram with full checksums.
func udpFrame(from, to [6]byte, src, dst netip.AddrPort, payload []byte) []byte {
	be := binary.BigEndian
	f := make([]byte, 42, 42+len(payload))
	copy(f, to[:])
	copy(f[6:], from[:])
	be.PutUint16(f[12:], 0x0800)
	f[14], f[15] = 0x45, 0xb9 // DSCP EF, ECN ECT(1)
	be.PutUint16(f[16:], uint16(28+len(payload)))
	be.PutUint16(f[18:], 0x1234)
	be.PutUint16(f[20:], 0x4000) // don't fragment
	f[22], f[23] = 64, 17
	s, d := src.Addr().As4(), dst.Addr().As4()
	copy(f[26:], s[:])
	copy(f[30:], d[:])
	be.PutUint16(f[34:], src.Port())
	be.PutUint16(f[36:], dst.Port())
	be.PutUint16(f[38:], uint16(8+len(payload)))
	f = append(f, payload...)
	resum(f)
	return f
}

// resum makes both checksums of a frame right for what it holds.
func resum(f []byte) {
	be := binary.BigEndian
	total := max(28, min(int(be.Uint16(f[16:])), len(f)-14))
	be.PutUint16(f[24:], 0)
	be.PutUint16(f[24:], ^onesSum(f[14:34]))
	be.PutUint16(f[40:], 0)
	sum := ^udpSum(f[14 : 14+total])
	if sum == 0 {
		sum = 0xffff
	}
	be.PutUint16(f[40:], sum)
}

// udpSum is the ones' complement sum over pseudo-header and datagram: 0xffff if
// it holds a right checksum.
func udpSum(ip []byte) uint16 {
	pseudo := append([]byte{}, ip[12:20]...)
	pseudo = append(pseudo, 0, 17)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(ip)-20))
	return onesSum(append(pseudo, ip[20:]...))
}

func onesSum(b []byte) uint16 {
	if len(b)%2 == 1 {
		b = append(append([]byte{}, b...), 0)
	}
	var sum uint64
	for ; len(b) > 0; b = b[2:] {
		sum += uint64(binary.BigEndian.Uint16(b))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

func channelData(number uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

func fromClient(data []byte) []byte {
	return udpFrame(clientMAC, relayMAC, client, listen, channelData(channel, data))
}

func fromPeer(data []byte) []byte {
	return udpFrame(peerMAC, relayMAC, peer, relayed, data)
}

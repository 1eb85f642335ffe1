// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"plumbline/bpf"
)

// The example of RFC 1071 §3, and IPv4 headers with known checksums.
func TestChecksum(t *testing.T) {
	for in, want := range map[string]uint16{
		"0001f203f4f5f6f7": ^uint16(0xddf2),
		"":                 0xffff,
		"ff":               0x00ff,
		"ffff":             0,
		"450000730000400040110000c0a80001c0a800c7": 0xb861,
	} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := checksum(b); got != want {
			t.Errorf("checksum of %s is %#04x, want %#04x", in, got, want)
		}
	}
}

func drawDatagram(t *rapid.T) datagram {
	addr := rapid.Custom(func(t *rapid.T) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip"))), rapid.Uint16().Draw(t, "port"))
	})
	return datagram{
		dstMAC: [6]byte{2, 0, 0, 0, 0, 1}, srcMAC: [6]byte{2, 0, 0, 0, 0, 2},
		tos: rapid.Byte().Draw(t, "tos"), id: rapid.Uint16().Draw(t, "id"), ttl: rapid.Byte().Draw(t, "ttl"),
		fragment: rapid.SampledFrom([]uint16{0, 0x4000}).Draw(t, "fragment"),
		src:      addr.Draw(t, "src"), dst: addr.Draw(t, "dst"),
		payload: rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "payload"),
	}
}

// A frame taken apart and built again is the same frame, and a wrong checksum
// stays just as wrong.
func TestParseBuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame := drawDatagram(t).build(true)
		if d := parse(frame); d.ipError != 0 || d.udpError != 0 || d.noUDPChecksum {
			t.Fatalf("right sums read as wrong: %+v", d)
		}
		// 0xffff and 0 are one value to a sum; only one of them is written.
		binary.BigEndian.PutUint16(frame[24:], rapid.Uint16Max(0xfffe).Draw(t, "ip sum"))
		binary.BigEndian.PutUint16(frame[40:], rapid.Uint16().Draw(t, "udp sum"))
		if again := parse(frame).build(true); !bytes.Equal(again, frame) {
			t.Fatalf("%x\nbecame\n%x", frame, again)
		}
		if off := parse(frame).build(false); binary.BigEndian.Uint16(off[40:]) != 0 {
			t.Fatal("a checksum, though they are off")
		}
	})
}

// A channel message through the relay and back again through a relay that
// mirrors it is the message that it was, but for the TTL.
func TestThereAndBack(t *testing.T) {
	client, listen := netip.MustParseAddrPort("198.51.100.4:40112"), netip.MustParseAddrPort("192.0.2.7:3478")
	relayed, peer := netip.MustParseAddrPort("192.0.2.7:50012"), netip.MustParseAddrPort("203.0.113.9:9000")
	there := bpf.Flow{
		Key:    bpf.RouteKey{Remote: client, Local: listen, Channel: 0x4000},
		Source: relayed, Destination: peer, Ifindex: 1, MTU: 1500, ExpiryNS: 100,
	}
	back := bpf.Flow{
		Key:    bpf.RouteKey{Remote: relayed, Local: peer},
		Source: client, Destination: listen, Channel: 0x4000, Ifindex: 1, MTU: 1500, ExpiryNS: 100,
	}
	router := Router{
		Slots: [2]bpf.Slot{bpf.Config{
			Generation: 1, Enabled: true, UDPChecksum: true, LowestPort: 9000, HighestPort: 9000, ListenPorts: []uint16{3478},
		}.Encode()},
		Active: bpf.Active{LeaseUntil: 100},
		Routes: map[bpf.RouteKey]uint32{there.Key: 0, back.Key: 1},
		Flows:  []bpf.Flow{there, back},
	}
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "data")
		message := binary.BigEndian.AppendUint16([]byte{0x40, 0x00}, uint16(len(data)))
		d := datagram{ttl: 64, src: client, dst: listen, payload: append(message, data...)}
		first := router.Decide(Frame{d.build(true), 1500, 1}, 99)
		if first.String() != "relay_tx_to_peer_routed" || first.Payload != len(data) || first.Flow != 0 {
			t.Fatalf("there: %+v", first)
		}
		second := router.Decide(Frame{first.Out, 1500, 2}, 99)
		if second.String() != "relay_redirect_to_client_routed" || second.Payload != len(data) || second.Flow != 1 {
			t.Fatalf("back: %+v", second)
		}
		d.ttl = 62
		if want := d.build(true); !bytes.Equal(second.Out, want) {
			t.Fatalf("came back as\n%x, want\n%x", second.Out, want)
		}
		for now, want := range map[uint64]string{99: "relay_tx_to_peer_routed", 100: "pass_none_lease_expired"} {
			if got := router.Decide(Frame{d.build(true), 1500, 1}, now); got.String() != want {
				t.Fatalf("at %d: %s, want %s", now, got, want)
			}
		}
	})
}

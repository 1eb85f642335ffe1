// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"plumbline/relay/testbed"
)

const (
	xdpDrop = 1 // include/uapi/linux/bpf.h
	xdpPass = 2
	xdpTX   = 3
)

// party is a host of the floor's flows.
func party(address string, port uint16) endpointAddress {
	a := netip.MustParseAddr(address).As4()
	return endpointAddress{[6]byte{2, 0, a[0], a[1], a[2], a[3]}, a, port}
}

var (
	testClient = party("10.77.0.10", clientPort)
	testRelay  = party("10.77.0.20", listenPort)
	testPeer   = party("10.77.0.30", peerPort)
)

func (e endpointAddress) host() xdpHost { return xdpHost{e.address, e.mac, bigEndian(e.port)} }

func (e endpointAddress) at(port uint16) endpointAddress {
	e.port = port
	return e
}

func loadTest(t *testing.T) *xdpObjects {
	t.Helper()
	testbed.Require(t)
	objects, err := constants{client: testClient.host(), peer: testPeer.host(), relay: testRelay.host()}.load()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = objects.Close() })
	return objects
}

func channelData(number uint16, payload []byte) []byte {
	h := binary.BigEndian.AppendUint16(nil, number)
	return append(binary.BigEndian.AppendUint16(h, uint16(len(payload))), payload...)
}

// The floor must do what the relay does, or its figures mean nothing: each frame
// it makes is compared byte by byte with the one that a host would have sent.
func TestFloorRelays(t *testing.T) {
	objects := loadTest(t)
	for _, size := range []int{16, 17, 1000, 1400} {
		payload := bytes.Repeat([]byte{0xa5, 3, 0xff}, size)[:size]
		for i := range uint16(clients) {
			client, relayed := testClient.at(clientPort+i), testRelay.at(relayedPort+i)
			framed := channelData(channelNumber, payload)
			for name, c := range map[string]struct {
				in, want []byte
				action   uint32
			}{
				"to the peer":      {frame(client, testRelay, framed), frame(relayed, testPeer, payload), xdpTX},
				"from the peer":    {frame(testPeer, relayed, payload), frame(testRelay, client, framed), xdpTX},
				"other channel":    {frame(client, testRelay, channelData(0x4001, payload)), nil, xdpPass},
				"other relay port": {frame(testPeer, testRelay.at(relayedPort+clients+i), payload), nil, xdpPass},
			} {
				// The floor leaves the TTL, which the router does not, so frames
				// made anew agree.
				action, out, err := objects.FloorRelay.Test(c.in)
				if err != nil {
					t.Fatal(err)
				}
				if c.want == nil {
					c.want = c.in
				}
				if action != c.action || !bytes.Equal(out, c.want) {
					t.Errorf("%s, flow %d, %d bytes: action %d, want %d\ngot  %x\nwant %x", name, i, size, action, c.action, out[:min(len(out), 60)], c.want[:min(len(c.want), 60)])
				}
			}
		}
	}
}

func TestEndpointSendsBackOrCounts(t *testing.T) {
	objects := loadTest(t)
	payload := make([]byte, 100)
	stamp(payload, 7)
	run := func(what string, in []byte, want uint32) []byte {
		t.Helper()
		action, out, err := objects.Endpoint.Test(in)
		if err != nil {
			t.Fatal(err)
		}
		if action != want {
			t.Errorf("%s: action %d, want %d", what, action, want)
		}
		return out
	}
	there := frame(testRelay.at(relayedPort), testPeer, payload)
	if back := run("to the peer's port", there, xdpTX); !bytes.Equal(back, frame(testPeer, testRelay.at(relayedPort), payload)) {
		t.Errorf("sent back %x", back)
	}
	run("to another port", frame(testRelay, testPeer.at(1), payload), xdpPass)
	if err := objects.sink(7, false); err != nil {
		t.Fatal(err)
	}
	run("of the trial", there, xdpDrop)
	stamp(payload, 6)
	run("of another trial", frame(testRelay.at(relayedPort), testPeer, payload), xdpPass)
	stamp(payload, 7)
	framed := frame(testRelay, testClient, channelData(channelNumber, payload))
	run("framed, while it looks for unframed", framed, xdpPass)
	if n, err := objects.counted(); err != nil || n != 1 {
		t.Errorf("counted %d (%v), want 1", n, err)
	}
	if err := objects.sink(7, true); err != nil {
		t.Fatal(err)
	}
	run("framed", framed, xdpDrop)
	run("framed", framed, xdpDrop)
	run("cut short", framed[:headersSize+headerSize+stampSize-1], xdpPass)
	if n, err := objects.counted(); err != nil || n != 2 {
		t.Errorf("counted %d (%v), want 2", n, err)
	}
}

// A header with its checksum from outside this code.
func TestChecksum(t *testing.T) {
	header, err := hex.DecodeString("450000730000400040110000c0a80001c0a800c7")
	if err != nil {
		t.Fatal(err)
	}
	if got := checksum(header, 0); got != 0xb861 {
		t.Errorf("got %#x, want 0xb861", got)
	}
	if got := checksum([]byte{1, 2, 3}, 0); got != ^uint16(0x0102+0x0300) {
		t.Errorf("odd length: got %#x", got)
	}
}

// A sum of 0 is sent as 0xffff (RFC 768), by hosts and by the floor alike.
func TestChecksumThatWouldBeZero(t *testing.T) {
	var sums [2]int // 0, 0xffff
	var payload []byte
	for n := range 1 << 16 {
		p := binary.BigEndian.AppendUint16(make([]byte, stampSize), uint16(n))
		switch f := frame(testRelay.at(relayedPort), testPeer, p); binary.BigEndian.Uint16(f[headersSize-2:]) {
		case 0:
			sums[0]++
		case 0xffff:
			sums[1]++
			payload = p
		}
	}
	if sums[0] != 0 || sums[1] == 0 {
		t.Fatalf("%d frames have the checksum 0, %d have 0xffff", sums[0], sums[1])
	}
	_, out, err := loadTest(t).FloorRelay.Test(frame(testClient, testRelay, channelData(channelNumber, payload)))
	if err != nil {
		t.Fatal(err)
	}
	if want := frame(testRelay.at(relayedPort), testPeer, payload); !bytes.Equal(out, want) {
		t.Errorf("got  %x\nwant %x", out, want)
	}
}

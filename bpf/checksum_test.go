// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"plumbline/bpf"
)

// relay runs a frame through one direction of the scene and gives the frame
// that came out, relayed.
func relay(t *testing.T, p *pair, frame []byte) []byte {
	t.Helper()
	got, err := p.run(frame, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Verdict != bpf.RelayTX {
		t.Fatalf("got %s", got.Outcome)
	}
	action, out, err := p.router.Run(frame, 1, nil)
	if err != nil || action != actions[bpf.RelayTX] {
		t.Fatalf("action %d, error %v", action, err)
	}
	return out
}

// checkSums adds every sum of a frame up from scratch.
func checkSums(t *testing.T, frame []byte) {
	t.Helper()
	if sum := onesSum(frame[14:34]); sum != 0xffff {
		t.Fatalf("IP header sums up to %#x\n%x", sum, frame)
	}
	if sum := udpSum(frame[14:]); sum != 0xffff {
		t.Fatalf("UDP sums up to %#x\n%x", sum, frame)
	}
	if binary.BigEndian.Uint16(frame[udpCheck:]) == 0 {
		t.Fatalf("UDP checksum became 0, which means none\n%x", frame)
	}
}

// Every length from empty to the largest, odd ones too, with random payloads
// and with those that make sums carry.
func TestChecksumsFromScratch(t *testing.T) {
	p := newPair(t, 4)
	p.set(t, scene())
	random := rand.New(rand.NewPCG(1, 2))
	fill := []func([]byte){
		func(b []byte) {
			for i := range b {
				b[i] = byte(random.Uint32())
			}
		},
		func(b []byte) {
			for i := range b {
				b[i] = 0xff
			}
		},
		func([]byte) {},
	}
	for length := 0; length <= 1468; length += 1 + random.IntN(7) {
		for _, f := range fill {
			payload := make([]byte, length)
			f(payload)
			checkSums(t, relay(t, p, fromClient(payload)))
			checkSums(t, relay(t, p, fromPeer(payload)))
		}
	}
}

// A sum of 0 must leave as 0xffff, and come in as either.
func TestChecksumThatIsZero(t *testing.T) {
	p := newPair(t, 4)
	p.set(t, scene())
	for name, build := range map[string]func([]byte) []byte{"to_peer": fromClient, "to_client": fromPeer} {
		t.Run(name, func(t *testing.T) {
			payload := []byte{0, 0, 1, 2, 3}
			// Adding the new checksum to the data makes the next one 0.
			out := relay(t, p, build(payload))
			copy(payload, out[udpCheck:udpCheck+2])
			out = relay(t, p, build(payload))
			checkSums(t, out)
			if got := binary.BigEndian.Uint16(out[udpCheck:]); got != 0xffff {
				t.Fatalf("checksum %#x, want 0xffff for a sum of 0", got)
			}
			// The same, where the frame that comes in has it.
			payload = []byte{0, 0, 1, 2, 3}
			in := build(payload)
			copy(payload, in[udpCheck:udpCheck+2])
			in = build(payload)
			if got := binary.BigEndian.Uint16(in[udpCheck:]); got != 0xffff {
				t.Fatalf("test frame has checksum %#x", got)
			}
			checkSums(t, relay(t, p, in))
		})
	}
}

// Some drivers leave next to no headroom. A test run does not reset the frame,
// so one that comes back to its own route grows until none is left.
func TestNoHeadroom(t *testing.T) {
	p := newPair(t, 4)
	m := scene()
	loop := &m.Flows[flowToClient]
	loop.Source, loop.Destination = peer, relayed // as it came
	p.set(t, m)
	before, err := p.maps.Counters()
	if err != nil {
		t.Fatal(err)
	}
	frame := edit(fromPeer(data), put8(ipTTL, 255))
	const rounds = 100
	action, out, err := p.router.Run(frame, rounds, nil)
	if err != nil {
		t.Fatal(err)
	}
	after, err := p.maps.Counters()
	if err != nil {
		t.Fatal(err)
	}
	since := after.Sub(before)
	full := since.Of(bpf.Outcome{Verdict: bpf.Pass, Direction: bpf.ToClient, Reason: "no_headroom"})
	sent := since.Of(bpf.Outcome{Verdict: bpf.RelayTX, Direction: bpf.ToClient, Reason: "routed"})
	if full == 0 || sent == 0 || full+sent != rounds || since.Received != rounds {
		t.Fatalf("counted %s", outcomeOf(since))
	}
	if action != actions[bpf.Pass] {
		t.Fatalf("action %d, want pass", action)
	}
	// What passed is what the last round that fitted had sent: whole.
	if want := len(frame) + 4*int(sent); len(out) != want {
		t.Fatalf("%d bytes came out, want %d", len(out), want)
	}
	checkSums(t, out)
}

// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"plumbline/bpf"
)

// loops is how many rounds one timed run has. The kernel times them, without
// the system call; it does not reset the frame between them.
const loops = 50

// BenchmarkRouter times the router in the kernel, in nanoseconds a frame, with
// an empty program for comparison: the difference is the router.
//
// A frame is not reset between rounds, so the relaying cases use routes that
// bring it back: to_client comes out as it went in but for four bytes more, and
// for to_peer a channel message holds a row of others, one of which each round
// uncovers. Both then do what a frame from the wire makes them do.
func BenchmarkRouter(b *testing.B) {
	b.Run("empty", func(b *testing.B) {
		empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.XDP, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
		})
		if err != nil {
			cannot(b, "root, or CAP_BPF and CAP_NET_ADMIN", err)
		}
		defer empty.Close()
		measure(b, nil, bpf.Outcome{}, func() (time.Duration, error) {
			_, d, err := empty.Benchmark(fromPeer(make([]byte, 1000)), loops, nil)
			return d, err
		})
	})

	p := newPair(b, 4)
	routed := func(d bpf.Direction) bpf.Outcome {
		return bpf.Outcome{Verdict: bpf.RelayTX, Direction: d, Reason: "routed"}
	}
	passed := func(d bpf.Direction, reason string) bpf.Outcome {
		return bpf.Outcome{Verdict: bpf.Pass, Direction: d, Reason: reason}
	}
	for _, c := range []struct {
		name    string
		frame   []byte
		outcome bpf.Outcome
	}{
		{"to_client", edit(fromPeer(make([]byte, 1000)), put8(ipTTL, 255)), routed(bpf.ToClient)},
		{"to_peer", edit(udpFrame(clientMAC, relayMAC, client, listen, nested(1000)), put8(ipTTL, 255)), routed(bpf.ToPeer)},
		{"pass/TCP", edit(fromPeer(make([]byte, 1000)), put8(ipProto, 6)), passed(bpf.None, "not_udp")},
		{"pass/STUN", udpFrame(clientMAC, relayMAC, client, listen, make([]byte, 100)), passed(bpf.ToPeer, "not_channel_data")},
		{"pass/no_route", udpFrame(peerMAC, relayMAC, netip.MustParseAddrPort("203.0.113.9:1"), relayed, make([]byte, 1000)), passed(bpf.ToClient, "no_route")},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := scene()
			// Back to where it came from.
			m.Flows[flowToClient].Source, m.Flows[flowToClient].Destination = peer, relayed
			m.Flows[flowToPeer].Source, m.Flows[flowToPeer].Destination = client, listen
			p.set(b, m)
			measure(b, p, c.outcome, func() (time.Duration, error) { return p.router.Time(c.frame, loops) })
		})
	}
}

// nested is a ChannelData message whose data is another, and so on.
func nested(size int) []byte {
	inner := make([]byte, size)
	for range loops {
		inner = channelData(channel, inner)
	}
	return inner
}

// measure gives the median of many timed runs, and sees to it that each round
// did what it should have.
func measure(b *testing.B, p *pair, outcome bpf.Outcome, run func() (time.Duration, error)) {
	var before bpf.Counters
	if p != nil {
		var err error
		if before, err = p.maps.Counters(); err != nil {
			b.Fatal(err)
		}
	}
	var each []time.Duration
	for b.Loop() {
		d, err := run()
		if err != nil {
			b.Fatal(err)
		}
		each = append(each, d)
	}
	if p != nil {
		after, err := p.maps.Counters()
		if err != nil {
			b.Fatal(err)
		}
		if since := after.Sub(before); since.Of(outcome) != since.Received {
			b.Fatalf("measured %s, want %s alone", outcomeOf(since), outcome)
		}
	}
	slices.Sort(each)
	b.ReportMetric(float64(each[len(each)/2].Nanoseconds()), "ns/frame")
	b.ReportMetric(0, "ns/op") // of which most would be the system call
}

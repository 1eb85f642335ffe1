// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"plumbline/relay/turn"
)

// A party is a client or peer that allocates nothing either.
type party struct {
	*socket
	w    *worker
	got  int
	step func(fd uintptr) bool
}

func newParty(t testing.TB, address string) *party {
	t.Helper()
	s, err := open(netip.MustParseAddrPort(address), Options{}, func(int) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	p := &party{socket: s, w: newWorker()}
	p.step = func(fd uintptr) bool {
		n, errno := p.w.rx.receive(fd, p.w.in[:])
		p.got = n
		return errno != unix.EAGAIN
	}
	return p
}

// exchange sends one datagram and waits until the other party has it.
func (p *party) exchange(t testing.TB, to *party, via netip.AddrPort, b []byte) int {
	if errno := p.w.tx.send(p.raw, via, netip.Addr{}, b); errno != 0 {
		t.Fatal(errno)
	}
	return to.await(t)
}

func (p *party) await(t testing.TB) int {
	if err := p.raw.Read(p.step); err != nil {
		t.Fatal(err)
	}
	return p.got
}

// scene is a client and a peer with an allocation between them.
func scene(t testing.TB, listen string, channel bool) (r *rig, client, peer *party, v *turn.View) {
	t.Helper()
	r = serve(t, listen)
	client, peer = newParty(t, listen), newParty(t, "127.0.0.9:0")
	at := r.Local()[0]
	if at.Addr().IsUnspecified() {
		at = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port())
	}
	v = &turn.View{ID: "a-1", Tuple: turn.FiveTuple{Client: client.local, Server: at}, Relayed: r.bind(),
		Expires: r.now().Add(1e12), Permissions: map[netip.Addr]time.Time{peer.local.Addr(): r.now().Add(1e12)}}
	v.Public = v.Relayed
	if channel {
		v.Channels = []turn.ChannelView{{Number: 0x4000, Peer: peer.local, Expires: v.Expires}}
	}
	r.Publish(v)
	return r, client, peer, v
}

func TestNoAllocationPerPacket(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector makes pools forget: run without -race")
	}
	for _, c := range []struct {
		name, listen string
		channel      bool
	}{
		{"channel IPv4", "127.0.0.1:0", true},
		{"channel IPv6", "[::1]:0", true},
		{"indication IPv4", "127.0.0.1:0", false},
		{"indication IPv6", "[::1]:0", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, client, peer, v := scene(t, c.listen, c.channel)
			out := channelData(0x4000, pattern(1000))
			if !c.channel {
				out = sendIndication(t, peer.local, pattern(1000))
			}
			in := pattern(1000)
			round := func() {
				client.exchange(t, peer, v.Tuple.Server, out)
				peer.exchange(t, client, v.Relayed, in)
			}
			round()
			if n := testing.AllocsPerRun(200, round); n > 0 {
				t.Errorf("%v allocations per round trip, want none", n)
			}
		})
	}
}

// An idle allocation holds no packet buffer.
func TestIdleAllocationsAreSmall(t *testing.T) {
	r := serve(t, "127.0.0.1:0")
	peer := udp(t, "127.0.0.9:0")
	use := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // empties pools
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := use()
	const n = 400
	for range n {
		relayed := r.bind()
		send(t, peer, relayed, []byte("x")) // its reader has been busy once
	}
	r.counted("no_allocation", n)
	if each := (use() - before) / n; each > 16<<10 {
		t.Errorf("an idle relayed address costs %d bytes, want at most 16 KiB", each)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, c := range []struct {
		name    string
		listen  string
		channel bool
	}{{"channel", "127.0.0.1:0", true}, {"indication", "127.0.0.1:0", false}, {"channel-ipv6", "[::1]:0", true}} {
		b.Run(c.name, func(b *testing.B) {
			_, client, peer, v := scene(b, c.listen, c.channel)
			out := channelData(0x4000, pattern(1000))
			if !c.channel {
				out = sendIndication(b, peer.local, pattern(1000))
			}
			in := pattern(1000)
			b.ReportAllocs()
			for b.Loop() {
				client.exchange(b, peer, v.Tuple.Server, out)
				peer.exchange(b, client, v.Relayed, in)
			}
		})
	}
}

// BenchmarkOneWay keeps 64 packets under way: the cost of a packet on a busy
// relay, with its sender's and its receiver's on the same host.
func BenchmarkOneWay(b *testing.B) {
	const window = 64
	for _, c := range []struct {
		name   string
		toPeer bool
	}{{"to-peer", true}, {"to-client", false}} {
		b.Run(c.name, func(b *testing.B) {
			_, client, peer, v := scene(b, "127.0.0.1:0", true)
			from, to, via, payload := client, peer, v.Tuple.Server, channelData(0x4000, pattern(1000))
			if !c.toPeer {
				from, to, via, payload = peer, client, v.Relayed, pattern(1000)
			}
			b.ReportAllocs()
			under := 0
			for b.Loop() {
				if errno := from.w.tx.send(from.raw, via, netip.Addr{}, payload); errno != 0 {
					b.Fatal(errno)
				}
				if under++; under == window {
					for ; under > 0; under-- {
						to.await(b)
					}
				}
			}
		})
	}
}

// BenchmarkLookup is the way through the flow table.
func BenchmarkLookup(b *testing.B) {
	r, client, _, v := scene(b, "127.0.0.1:0", true)
	now := r.now()
	b.ReportAllocs()
	for b.Loop() {
		a := r.byTuple.get(turn.FiveTuple{Client: client.local, Server: v.Tuple.Server})
		s := a.current.Load()
		peer, drop := s.ToPeer(now, 0x4000)
		if _, ok := r.onWire(s, peer, now); drop != turn.None || !ok {
			b.Fatal(drop)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"pgregory.net/rapid"

	"plumbline/logs"
	"plumbline/relay/turn"
)

// addsUp checks the identity that every reading of the counters must keep.
func addsUp(t testing.TB, c logs.UserspaceCounters) {
	t.Helper()
	if c.Received != c.Relayed+c.Passed+c.Dropped {
		t.Fatalf("received %d ≠ relayed %d + passed %d + dropped %d", c.Received, c.Relayed, c.Passed, c.Dropped)
	}
	var sum uint64
	for _, n := range c.Reasons {
		sum += n
	}
	if sum != c.Received {
		t.Fatalf("reasons %v add up to %d, received %d", c.Reasons, sum, c.Received)
	}
}

// TestEveryPacketIsAccountedFor sends a mix of everything while the counters
// are read and allocations come and go, and compares in the end what was sent,
// what was counted and what the flows say.
func TestEveryPacketIsAccountedFor(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0", "[::1]:0")
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { // the core's part: takes control messages and answers none
		for {
			select {
			case m := <-r.control:
				m.release()
			case <-stop:
				return
			}
		}
	})
	sums := newSums()
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				addsUp(t, r.Counters())
				r.Flows(sums.visit)
			}
		}
	})
	peers := []*net.UDPConn{udp(t, "127.0.0.9:0"), udp(t, "127.0.0.9:0"), udp(t, "127.0.0.10:0")}
	var sent uint64
	random := rand.New(rand.NewPCG(1, 2))
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	for round := range 8 {
		listen := round % 2
		client := udp(t, []string{"127.0.0.1:0", "[::1]:0"}[listen])
		server := r.Local()[listen]
		id := string(rune('a' + round))
		v := r.allocate(id, client, server, local(peers[0]), local(peers[1]))
		for range 60 {
			for _, b := range [][]byte{
				channelData(0x4000, pattern(random.IntN(300))),
				channelData(0x4001, pattern(random.IntN(300))),
				channelData(0x4999, []byte("no such channel")),
				{0x40, 0, 0xff, 0xff, 1},
				request,
				sendIndication(t, local(peers[random.IntN(3)]), pattern(random.IntN(50))),
				sendIndication(t, local(peers[0]), nil)[:24],
				pattern(random.IntN(64)),
				nil,
			} {
				send(t, client, server, b)
				sent++
			}
			send(t, peers[random.IntN(3)], v.Relayed, pattern(random.IntN(300)))
			sent++
			// No queue may overflow: this test is about what was received.
			r.eventually("all counted", func() bool { return r.Counters().Received == sent })
		}
		if round%3 == 0 {
			r.Withdraw(id)
			r.Release(v.Relayed)
		}
	}
	close(stop)
	others.Wait()
	r.Flows(sums.visit)
	c := r.Counters()
	addsUp(t, c)
	if c.Received != sent || c.Overflowed != 0 {
		t.Fatalf("received %d, overflowed %d, want %d and 0", c.Received, c.Overflowed, sent)
	}
	byReason := sums.byReason()
	for reason, n := range c.Reasons {
		if byReason[reason] != n {
			t.Errorf("%s: flows say %d, counters %d", reason, byReason[reason], n)
		}
		delete(byReason, reason)
	}
	if len(byReason) != 0 {
		t.Errorf("flows name what counters do not: %v", byReason)
	}
}

// sums is a reader of Flows as the relay has one: it keeps the last cumulative
// numbers of each flow, and adds up those that ended.
type sums struct {
	live  map[FlowStat]uint64
	ended map[string]uint64
}

func newSums() *sums { return &sums{map[FlowStat]uint64{}, map[string]uint64{}} }

func (s *sums) visit(f FlowStat) {
	n, ended := f.Packets, f.Ended
	f.Packets, f.Bytes, f.Ended = 0, 0, false
	if ended {
		delete(s.live, f)
		s.ended[f.Reason] += n
		return
	}
	s.live[f] = n
}

func (s *sums) byReason() map[string]uint64 {
	all := make(map[string]uint64)
	for f, n := range s.live {
		all[f.Reason] += n
	}
	for reason, n := range s.ended {
		all[reason] += n
	}
	return all
}

func TestFlows(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client, peer := udp(t, "127.0.0.1:0"), udp(t, "127.0.0.9:0")
	v := r.allocate("a-1", client, r.Local()[0], local(peer))
	send(t, client, r.Local()[0], channelData(0x4000, pattern(100)))
	receive(t, peer)
	send(t, peer, v.Relayed, pattern(7))
	receive(t, client)
	send(t, client, r.Local()[0], []byte{0xff, 1, 2})
	r.counted("not_turn", 1)
	r.counted("channel", 2)

	flow := FlowStat{Allocation: "a-1", Client: local(client), Relayed: v.Relayed, Channel: 0x4000, Peer: local(peer),
		Verdict: Relay, Reason: "channel", Packets: 1}
	toPeer, toClient := flow, flow
	toPeer.Direction, toPeer.Bytes = ToPeer, 100
	toClient.Direction, toClient.Bytes = ToClient, 7
	nobodys := FlowStat{Direction: None, Verdict: Drop, Reason: "not_turn", Packets: 1, Bytes: 3}
	check := func(when string, want ...FlowStat) {
		t.Helper()
		got := map[FlowStat]bool{}
		r.Flows(func(f FlowStat) { got[f] = true })
		if len(got) != len(want) {
			t.Errorf("%s: %d flows, want %d: %+v", when, len(got), len(want), got)
		}
		for _, f := range want {
			if !got[f] {
				t.Errorf("%s: no %+v in %+v", when, f, got)
			}
		}
	}
	check("live", toPeer, toClient, nobodys)
	check("again", toPeer, toClient, nobodys)
	out, in := r.Withdraw("a-1")
	if out != (logs.Traffic{Packets: 1, Bytes: 100}) || in != (logs.Traffic{Packets: 1, Bytes: 7}) {
		t.Errorf("Withdraw says %v and %v", out, in)
	}
	toPeer.Ended, toClient.Ended = true, true
	check("ended", toPeer, toClient, nobodys)
	check("gone", nobodys)
	if out, in = r.Withdraw("a-1"); out.Packets+in.Packets != 0 {
		t.Errorf("a second Withdraw says %v and %v", out, in)
	}
}

// TestLedger books packets of arbitrary flows: memory stays bounded, no number
// is lost to the bound or to the end of idle flows.
func TestLedger(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := &ledger{}
		now := time.Unix(0, 0)
		s := newSums()
		want := map[string]uint64{}
		for range rapid.IntRange(0, 400).Draw(t, "packets") {
			key := flowKey{
				channel: uint16(rapid.IntRange(0, 3).Draw(t, "channel")),
				peer:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(rapid.IntRange(1, 200).Draw(t, "port"))),
				reason:  rapid.SampledFrom([]reason{viaChannel, viaIndication, sendDenied, reason(turn.NoPermission)}).Draw(t, "reason"),
			}
			l.mu.Lock()
			l.book(key, 10, now)
			l.mu.Unlock()
			want[key.reason.String()]++
			if rapid.IntRange(0, 20).Draw(t, "visit") == 0 {
				now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "seconds")) * time.Second)
				for _, f := range l.read(nil, FlowStat{Direction: ToPeer}, now) {
					s.visit(f)
				}
			}
			if n := len(l.flows); n > maxRelayedFlows+maxDroppedFlows {
				t.Fatalf("%d flows in one ledger", n)
			}
		}
		relayed := l.close()
		for _, f := range l.read(nil, FlowStat{Direction: ToPeer}, now) {
			if !f.Ended {
				t.Fatalf("a flow of a closed ledger has not ended: %+v", f)
			}
			s.visit(f)
		}
		got := s.byReason()
		for reason, n := range want {
			if got[reason] != n {
				t.Fatalf("%s: %d packets, want %d", reason, got[reason], n)
			}
		}
		if n := want["channel"] + want["indication"]; relayed != (logs.Traffic{Packets: n, Bytes: 10 * n}) {
			t.Fatalf("relayed %v, want %d packets", relayed, n)
		}
	})
}

// Idle flows make room: a long-lived allocation with changing peers does not
// end up with a single nameless flow.
func TestIdleFlowsMakeRoom(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	key := func(port int) flowKey {
		return flowKey{peer: netip.AddrPortFrom(netip.IPv6LinkLocalAllNodes(), uint16(port)), reason: viaChannel}
	}
	now := time.Unix(0, 0)
	for i := range maxRelayedFlows + 1 {
		l.book(key(i), 1, now)
	}
	if l.other[viaChannel].Packets != 1 || len(l.flows) != maxRelayedFlows {
		t.Fatalf("%d flows, %d packets in the common one", len(l.flows), l.other[viaChannel].Packets)
	}
	l.read(nil, FlowStat{}, now.Add(flowIdle))
	l.book(key(1000), 1, now.Add(flowIdle))
	if len(l.flows) != 1 || l.kept != [2]int{1, 0} {
		t.Fatalf("%d flows, kept %v after all were idle; want the new one", len(l.flows), l.kept)
	}
}

// A packet is in Withdraw's sums exactly if its peer gets it.
func TestWithdrawIsExact(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client, peer := udp(t, "127.0.0.1:0"), newParty(t, "127.0.0.9:0")
	peer.conn.SetReadBuffer(1 << 20)
	for round := range 20 {
		id := "a-" + string(rune('a'+round))
		v := r.allocate(id, client, r.Local()[0], peer.local)
		stop := make(chan struct{})
		var sender sync.WaitGroup
		sender.Go(func() {
			for range 400 { // less than the peer's queue takes
				select {
				case <-stop:
					return
				default:
					client.WriteToUDPAddrPort(channelData(0x4000, pattern(round+1)), r.Local()[0])
				}
			}
		})
		got := logs.Traffic{Packets: 1, Bytes: uint64(peer.await(t))}
		toPeer, _ := r.Withdraw(id)
		close(stop)
		sender.Wait()
		// Whatever was sent before Withdraw returned stands in the queue now.
		peer.raw.Read(func(fd uintptr) bool {
			for {
				n, errno := peer.w.rx.receive(fd, peer.w.in[:])
				if errno != 0 {
					return true
				}
				got = got.Add(logs.Traffic{Packets: 1, Bytes: uint64(n)})
			}
		})
		if got != toPeer {
			t.Fatalf("round %d: the peer got %+v, Withdraw says %+v", round, got, toPeer)
		}
		r.Release(v.Relayed)
	}
}

// A flood of ended flows that nobody asks for loses names, not numbers.
func TestEndedFlowsAreBounded(t *testing.T) {
	t.Parallel()
	d, err := New(Options{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Control: func(turn.FiveTuple, []byte, func()) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	const each = maxRelayedFlows + 5
	rounds := maxEnded/maxRelayedFlows + 10
	for i := range rounds {
		v := &turn.View{ID: "a", Expires: time.Now().Add(time.Hour),
			Tuple:   turn.FiveTuple{Client: netip.MustParseAddrPort("127.0.0.1:9"), Server: d.Local()[0]},
			Relayed: netip.MustParseAddrPort("127.0.0.1:9"), Public: netip.MustParseAddrPort("127.0.0.1:9")}
		d.Publish(v)
		a := d.byTuple.get(v.Tuple)
		for port := range each {
			a.toPeer.book(flowKey{peer: netip.AddrPortFrom(v.Relayed.Addr(), uint16(port)), reason: viaChannel}, 1, time.Now())
		}
		if toPeer, _ := d.Withdraw("a"); toPeer.Packets != each {
			t.Fatalf("allocation %d relayed %d packets, want %d", i, toPeer.Packets, each)
		}
	}
	var packets, flows uint64
	d.Flows(func(f FlowStat) { flows++; packets += f.Packets })
	if packets != uint64(rounds*each) {
		t.Errorf("%d packets in flows, want %d", packets, rounds*each)
	}
	if flows > maxEnded+each+1 {
		t.Errorf("%d ended flows kept, want at most %d", flows, maxEnded)
	}
}

// Many peers of one allocation share a bounded account, and all are counted.
func TestManyPeersAreBounded(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client := udp(t, "127.0.0.1:0")
	permitted := netip.MustParseAddrPort("127.0.0.9:9")
	v := r.allocate("a-1", client, r.Local()[0], permitted)
	const peers = 200
	for i := range peers {
		if i%20 == 0 { // the socket's queue must not overflow
			r.counted("no_permission", uint64(i))
		}
		for _, address := range []string{"127.0.0.9:0", "127.0.0.10:0"} {
			from := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
			c, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(v.Relayed))
			if err != nil {
				t.Fatal(err)
			}
			c.Write([]byte("0123456789"))
			c.Close()
		}
	}
	r.counted("indication", peers)
	r.counted("no_permission", peers)
	entries, packets := map[string]int{}, map[string]uint64{}
	r.Flows(func(f FlowStat) {
		entries[f.Reason]++
		packets[f.Reason] += f.Packets
		if f.Allocation != "a-1" || f.Direction != ToClient || f.Bytes != 10*f.Packets {
			t.Errorf("flow %+v", f)
		}
	})
	if entries["indication"] != maxRelayedFlows+1 || entries["no_permission"] != maxDroppedFlows+1 {
		t.Errorf("entries %v, want %d and %d, and one for the others of each", entries, maxRelayedFlows, maxDroppedFlows)
	}
	if packets["indication"] != peers || packets["no_permission"] != peers {
		t.Errorf("packets %v, want %d each", packets, peers)
	}
}

// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

func TestParseChannelData(t *testing.T) {
	for _, test := range []struct {
		name    string
		in      []byte
		number  uint16
		payload []byte
		ok      bool
	}{
		{"whole", []byte{0x40, 1, 0, 3, 'a', 'b', 'c'}, 0x4001, []byte("abc"), true},
		{"padded", []byte{0x40, 1, 0, 3, 'a', 'b', 'c', 0}, 0x4001, []byte("abc"), true},
		{"more than padding", []byte{0x7F, 0xFF, 0, 1, 'a', 'b', 'c', 0, 9, 9, 9}, 0x7FFF, []byte("a"), true},
		{"empty", []byte{0x40, 0, 0, 0}, 0x4000, nil, true},
		{"length > datagram", []byte{0x40, 0, 0, 4, 'a', 'b', 'c'}, 0, nil, false},
		{"length far more", []byte{0x40, 0, 0xFF, 0xFF}, 0, nil, false},
		{"short header", []byte{0x40, 0, 0}, 0, nil, false},
		{"nothing", nil, 0, nil, false},
		{"STUN", []byte{0, 1, 0, 0}, 0, nil, false},
		{"reserved 0x8000", []byte{0x80, 0, 0, 0}, 0, nil, false},
	} {
		number, payload, ok := ParseChannelData(test.in)
		if number != test.number || !bytes.Equal(payload, test.payload) || ok != test.ok || cap(payload) != len(payload) {
			t.Errorf("%s: %#x %q %v", test.name, number, payload, ok)
		}
	}
	long := bytes.Repeat([]byte{7}, MaxPayload-4)
	number, payload, ok := ParseChannelData(AppendChannelData([]byte("x"), 0x4ABC, long)[1:])
	if number != 0x4ABC || !bytes.Equal(payload, long) || !ok {
		t.Error("the largest payload does not survive")
	}
}

// send builds a Send indication with the codec.
func send(t testing.TB, setters ...stun.Setter) []byte {
	t.Helper()
	m := stun.New()
	m.TransactionID = [12]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	if err := m.Build(append([]stun.Setter{stun.NewType(stun.MethodSend, stun.ClassIndication)}, setters...)...); err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

func data(s string) stun.Setter { return attribute(stun.AttrData, []byte(s)...) }

func TestParseSend(t *testing.T) {
	peer := peerAttr("192.0.2.1:9000")
	corrupt := send(t, peer, data("abc"), stun.Fingerprint)
	corrupt[24] ^= 1
	for _, test := range []struct {
		name    string
		in      []byte
		peer    string
		payload string
		df      bool
		err     error
	}{
		{"whole", send(t, peer, data("abc")), "192.0.2.1:9000", "abc", false, nil},
		{"other order", send(t, data("abcd"), peer), "192.0.2.1:9000", "abcd", false, nil},
		{"empty DATA", send(t, peer, data("")), "192.0.2.1:9000", "", false, nil},
		{"IPv6", send(t, peerAttr("[2001:db8::1]:9"), data("a")), "[2001:db8::1]:9", "a", false, nil},
		{"DONT-FRAGMENT", send(t, attribute(stun.AttrDontFragment), peer, data("a")), "192.0.2.1:9000", "a", true, nil},
		{"optional unknown", send(t, attribute(0xFFFE, 1), peer, data("a")), "192.0.2.1:9000", "a", false, nil},
		{"known but unexpected", send(t, stun.NewUsername("x"), peer, data("a")), "192.0.2.1:9000", "a", false, nil},
		{"first of two counts", send(t, peer, data("a"), peerAttr("192.0.2.2:1"), data("b")), "192.0.2.1:9000", "a", false, nil},
		{"FINGERPRINT", send(t, peer, data("abc"), stun.Fingerprint), "192.0.2.1:9000", "abc", false, nil},
		{"after MESSAGE-INTEGRITY", send(t, peer, data("a"), stun.MessageIntegrity("k"), attribute(0x7F00, 1)), "192.0.2.1:9000", "a", false, nil},
		{"DATA after MESSAGE-INTEGRITY", send(t, peer, stun.MessageIntegrity("k"), data("a")), "", "", false, MissingAttribute},
		{"bad FINGERPRINT", corrupt, "", "", false, BadFingerprint},
		{"FINGERPRINT not last", send(t, peer, stun.Fingerprint, data("a")), "", "", false, BadFingerprint},
		{"required unknown", send(t, attribute(0x7F00, 1), peer, data("a")), "", "", false, UnknownAttribute},
		{"no peer", send(t, data("a")), "", "", false, MissingAttribute},
		{"no DATA", send(t, peer), "", "", false, MissingAttribute},
		{"no attributes", send(t), "", "", false, MissingAttribute},
		{"port 0", send(t, peerAttr("192.0.2.1:0"), data("a")), "", "", false, PeerInvalid},
		{"IPv4-mapped", send(t, peerAttr("[::ffff:192.0.2.1]:9000"), data("a")), "", "", false, PeerInvalid},
		{"short peer", send(t, attribute(stun.AttrXORPeerAddress, 0, 1, 0, 0), data("a")), "", "", false, Malformed},
		{"bad family", send(t, attribute(stun.AttrXORPeerAddress, 0, 3, 0, 0, 1, 2, 3, 4), data("a")), "", "", false, Malformed},
		{"cut", send(t, peer, data("abcdefgh"))[:36], "", "", false, Malformed},
		{"trailing", append(send(t, peer, data("a")), 0, 0, 0, 0), "", "", false, Malformed},
		{"empty", nil, "", "", false, Malformed},
		{"ChannelData", AppendChannelData(nil, 0x4000, make([]byte, 20)), "", "", false, Malformed},
		{"a Data indication", AppendDataIndication(nil, ap("192.0.2.1:1"), nil, rand.NewPCG(1, 2)), "", "", false, Malformed},
	} {
		addr, payload, df, err := ParseSend(test.in)
		want := netip.AddrPort{}
		if test.peer != "" {
			want = ap(test.peer)
		}
		if addr != want || string(payload) != test.payload || df != test.df || err != test.err {
			t.Errorf("%s: %s %q %v %v", test.name, addr, payload, df, err)
		}
	}
}

// What we write, the codec must read.
func TestAppendDataIndication(t *testing.T) {
	random := rand.NewPCG(1, 2)
	ids := map[[12]byte]bool{}
	for _, peer := range []string{"192.0.2.1:9000", "[2001:db8::1]:65535"} {
		for _, size := range []int{0, 1, 2, 3, 4, 1499, 65480} {
			payload := bytes.Repeat([]byte{0xAB}, size)
			b := AppendDataIndication([]byte("before"), ap(peer), payload, random)
			if !bytes.HasPrefix(b, []byte("before")) || len(b) > 6+size+DataOverhead {
				t.Fatalf("%d bytes of payload made %d", size, len(b))
			}
			var m stun.Message
			if err := stun.Decode(b[6:], &m); err != nil {
				t.Fatal(err)
			}
			got, err := m.Get(stun.AttrData)
			if err != nil || !bytes.Equal(got, payload) || m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) {
				t.Errorf("%s, %d bytes: %v %v", peer, size, m.Type, err)
			}
			if addr := addressOf(t, &m, stun.AttrXORPeerAddress); addr != ap(peer) {
				t.Errorf("peer %s", addr)
			}
			if !wholeMessage(b[6:]) {
				t.Error("not a whole message")
			}
			ids[m.TransactionID] = true
		}
	}
	if len(ids) != 14 {
		t.Error("transaction ids repeat")
	}
}

func testView(channels int) *View {
	a := &allocation{id: "a-1", tuple: FiveTuple{Client: ap(alicesAddress)}, expires: start.Add(time.Hour),
		permissions: map[netip.Addr]time.Time{ip("192.0.2.1"): start.Add(PermissionLifetime)},
		channels:    map[uint16]*channel{}}
	for i := range channels {
		a.channels[uint16(0x4000+i)] = &channel{peer: netip.AddrPortFrom(ip("192.0.2.1"), uint16(1+i)), expires: start.Add(ChannelLifetime)}
	}
	return a.snapshot(ip("203.0.113.7"))
}

func TestView(t *testing.T) {
	indexed := testView(300)
	bare := *indexed
	bare.index = viewIndex{}
	for name, v := range map[string]*View{"indexed": indexed, "built by hand": &bare} {
		for i := range 300 {
			number, peer := uint16(0x4000+i), netip.AddrPortFrom(ip("192.0.2.1"), uint16(1+i))
			if got, why := v.ToPeer(start, number); got != peer || why != None {
				t.Fatalf("%s: %#x leads to %s, %s", name, number, got, why)
			}
			if got, ok := v.ChannelTo(start, peer); got != number || !ok {
				t.Fatalf("%s: %s has %#x, %v", name, peer, got, ok)
			}
		}
		for _, number := range []uint16{0, 0x3FFF, 0x4000 + 300, 0x7FFF} {
			if _, why := v.ToPeer(start, number); why != UnknownChannel {
				t.Errorf("%s: %#x: %s", name, number, why)
			}
		}
		if _, ok := v.ChannelTo(start, ap("192.0.2.1:301")); ok {
			t.Errorf("%s: a channel to a stranger", name)
		}
		end := start.Add(ChannelLifetime)
		if _, why := v.ToPeer(end, 0x4000); why != ChannelExpired {
			t.Errorf("%s: %s", name, why)
		}
		if _, ok := v.ChannelTo(end, ap("192.0.2.1:1")); ok {
			t.Errorf("%s: an expired channel is used", name)
		}
		over := start.Add(time.Hour)
		if _, why := v.ToPeer(over, 0x4000); why != AllocationExpired {
			t.Errorf("%s: %s", name, why)
		}
		if why := v.Allows(over, ip("192.0.2.1")); why != AllocationExpired {
			t.Errorf("%s: %s", name, why)
		}
		if why := v.Allows(start, ip("192.0.2.2")); why != NoPermission {
			t.Errorf("%s: %s", name, why)
		}
		if why := v.Allows(start.Add(PermissionLifetime), ip("192.0.2.1")); why != NoPermission {
			t.Errorf("%s: %s", name, why)
		}
		if v.Permits(start, ip("::ffff:192.0.2.1")) {
			t.Errorf("%s: an IPv4-mapped peer passes for IPv4", name)
		}
	}
}

func TestDataPathAllocatesNothing(t *testing.T) {
	v := testView(16)
	payload := bytes.Repeat([]byte{1}, 1000)
	channelData := AppendChannelData(nil, 0x4003, payload)
	indication := send(t, peerAttr("192.0.2.1:4"), data(string(payload)), stun.Fingerprint)
	broken := send(t, peerAttr("192.0.2.1:0"), data("a"))
	dst := make([]byte, 0, len(payload)+DataOverhead)
	random := rand.NewPCG(1, 2)
	var passed int
	allocs := testing.AllocsPerRun(1000, func() {
		number, p, ok := ParseChannelData(channelData)
		if peer, why := v.ToPeer(start, number); ok && why == None && v.Permits(start, peer.Addr()) && !v.OnlyRelayed(peer.Addr()) {
			if n, ok := v.ChannelTo(start, peer); ok {
				dst = AppendChannelData(dst[:0], n, p)
			}
		}
		peer, p, _, err := ParseSend(indication)
		if err == nil {
			dst = AppendDataIndication(dst[:0], peer, p, random)
			passed++
		}
		if _, _, _, err := ParseSend(broken); err != PeerInvalid || err.Error() == "" {
			passed = -1 << 30
		}
	})
	if allocs != 0 || passed <= 0 {
		t.Errorf("%v allocations a packet, %d passed", allocs, passed)
	}
}

func TestReasonNames(t *testing.T) {
	seen := map[string]bool{}
	for r := range ReasonCount {
		name := Reason(r).String()
		if name == "" || name == "unknown" || seen[name] || Reason(r).Error() != name {
			t.Errorf("reason %d is %q", r, name)
		}
		seen[name] = true
	}
	if Reason(ReasonCount).String() != "unknown" {
		t.Error("a reason too many")
	}
}

func BenchmarkParseSend(b *testing.B) {
	in := send(b, peerAttr("192.0.2.1:4"), data(string(make([]byte, 1200))))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := ParseSend(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkToPeer(b *testing.B) {
	v := testView(100)
	b.ReportAllocs()
	for b.Loop() {
		if _, why := v.ToPeer(start, 0x4020); why != None {
			b.Fatal(why)
		}
	}
}

func BenchmarkChannelTo(b *testing.B) {
	v := testView(100)
	peer := ap("192.0.2.1:32")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := v.ChannelTo(start, peer); !ok {
			b.Fatal("lost")
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package turn

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// fuzzSeeds are messages of each kind that a server can receive.
func fuzzSeeds(t testing.TB) [][]byte {
	w := newWorld(t, testConfig())
	c := w.client(alicesAddress, "alice", "wonder")
	c.fingerprint = true
	seeds := [][]byte{
		c.build(stun.MethodBinding, c.newID()),
		c.build(stun.MethodAllocate, c.newID(), udp),
		send(t, peerAttr("192.0.2.1:9000"), data("abc")),
		send(t, peerAttr("[2001:db8::1]:9"), data("abc"), stun.Fingerprint),
		AppendChannelData(nil, 0x4000, []byte("abc")),
		vector(t, vectorLongTerm).Raw,
	}
	c.want(0, c.allocate(attribute(stun.AttrEvenPort, 0x80)))
	return append(seeds,
		c.build(stun.MethodAllocate, c.newID(), udp, secondsAttr(1200), familyAttr(attrAdditionalAddressFamily, 2)),
		c.build(stun.MethodRefresh, c.newID(), secondsAttr(0)),
		c.build(stun.MethodCreatePermission, c.newID(), peerAttr("192.0.2.1:1"), peerAttr("192.0.2.2:1")),
		c.build(stun.MethodChannelBind, c.newID(), numberAttr(0x4000), peerAttr("192.0.2.1:1")),
	)
}

// Whatever a stranger sends, the server neither panics nor remembers it, and
// answers with at most one datagram of bounded size. The second half signs the
// bytes as attributes of an authenticated request, to get past the door.
func FuzzHandle(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed, uint16(1))
		if len(seed) > 20 {
			f.Add(seed[20:], uint16(stun.MethodChannelBind))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, method uint16) {
		w := newWorld(t, testConfig())
		stranger := w.client("198.51.100.99:7", "", "")
		stranger.raw(b)
		if w.s.Len()+len(w.s.pending)+len(w.s.taken)+len(w.s.timers)+len(w.bound) != 0 {
			t.Fatal("a stranger's datagram is remembered")
		}
		if len(w.sent) > 1 || len(w.sent) == 1 && len(w.sent[0].Payload) > max(4*len(b), 160) {
			t.Fatalf("%d bytes are answered with %d", len(b), len(w.sent[0].Payload))
		}

		c := w.client(alicesAddress, "alice", "wonder")
		c.want(0, c.allocate())
		m := stun.New()
		m.TransactionID = c.newID()
		if err := m.Build(stun.NewType(stun.Method(method&0xFFF), stun.ClassRequest), stun.NewUsername(c.user),
			stun.NewRealm(c.realm), stun.NewNonce(c.nonce)); err != nil {
			t.Fatal(err)
		}
		if len(b) > 4096 {
			b = b[:4096]
		}
		m.Raw = append(m.Raw, b[:len(b)&^3]...)
		m.Length = uint32(len(m.Raw) - 20)
		m.WriteLength()
		if m.Decode() != nil || stun.NewLongTermIntegrity("alice", c.realm, "wonder").AddTo(m) != nil {
			return
		}
		c.raw(m.Raw)
		for _, v := range w.views {
			if len(v.Permissions) > maxPermissions || len(v.Channels) > 1 {
				t.Fatalf("one request made %d channels", len(v.Channels))
			}
		}
		w.now = w.now.Add(2 * time.Hour)
		w.run(w.s.Tick(w.now))
		if len(w.bound)+len(w.views) != 0 {
			t.Fatal("left behind")
		}
	})
}

// ParseSend must agree with the codec on everything that it accepts.
func FuzzParseSend(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		peer, payload, _, err := ParseSend(b)
		if !bytes.Equal(b, before) {
			t.Fatal("the datagram changed")
		}
		if err != nil {
			if peer != (netip.AddrPort{}) || payload != nil || err.(Reason) == None {
				t.Fatalf("refused with %s %q %v", peer, payload, err)
			}
			return
		}
		m := stun.NewWithOptions(stun.WithStrict(true))
		if _, err := m.Write(b); err != nil {
			t.Fatalf("the codec refuses it: %v", err)
		}
		value, err := m.Get(stun.AttrData)
		if err != nil || !bytes.Equal(value, payload) {
			t.Fatalf("payload %q, the codec says %q, %v", payload, value, err)
		}
		value, err = m.Get(stun.AttrXORPeerAddress)
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := xorPeer(value, &m.TransactionID); !ok || want != peer || peer.Port() == 0 {
			t.Fatalf("peer %s, the codec says %s", peer, want)
		}
	})
}

func FuzzParseChannelData(f *testing.F) {
	f.Add([]byte{0x40, 1, 0, 3, 'a', 'b', 'c', 0})
	f.Add([]byte{0x7F, 1, 0xFF, 0xFF, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		number, payload, ok := ParseChannelData(b)
		if !ok {
			return
		}
		if number < LowestChannel || number > HighestChannel {
			t.Fatalf("channel %#x", number)
		}
		if again := AppendChannelData(nil, number, payload); !bytes.HasPrefix(b, again) {
			t.Fatalf("%x read as %x", b, again)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/relay/turn"
)

func TestChannelBothWays(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client, peer := udp(t, "127.0.0.1:0"), udp(t, "127.0.0.9:0")
	v := r.allocate("a-1", client, r.Local()[0], local(peer))

	for _, padding := range [][]byte{nil, {0}, {0, 0, 0}} {
		send(t, client, r.Local()[0], append(channelData(0x4000, []byte("hello")), padding...))
		got, from := receive(t, peer)
		if string(got) != "hello" || from != v.Relayed {
			t.Fatalf("peer got %q from %s, want hello from %s", got, from, v.Relayed)
		}
	}
	send(t, client, r.Local()[0], channelData(0x4000, nil))
	if got, _ := receive(t, peer); len(got) != 0 {
		t.Fatalf("peer got %q of an empty ChannelData message", got)
	}
	send(t, peer, v.Relayed, []byte("back"))
	got, from := receive(t, client)
	if want := channelData(0x4000, []byte("back")); !bytes.Equal(got, want) || from != r.Local()[0] {
		t.Fatalf("client got %x from %s, want %x from %s", got, from, want, r.Local()[0])
	}
	r.counted("channel", 5)
}

func sendIndication(t testing.TB, peer netip.AddrPort, payload []byte) []byte {
	t.Helper()
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), xorPeerAddress(peer),
		stun.RawAttribute{Type: stun.AttrData, Value: payload}, stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

type xorPeerAddress netip.AddrPort

func (p xorPeerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

func TestIndicationsBothWays(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		r := serve(t, listen)
		client, peer := udp(t, listen), udp(t, "127.0.0.9:0")
		v := r.allocate("a-1", client, r.Local()[0], local(peer))
		v2 := *v
		v2.Channels = nil
		r.Publish(&v2)
		for n := range 9 { // every padding
			send(t, client, r.Local()[0], sendIndication(t, local(peer), pattern(n)))
			if got, _ := receive(t, peer); !bytes.Equal(got, pattern(n)) {
				t.Fatalf("peer got %x, want %x", got, pattern(n))
			}
			send(t, peer, v.Relayed, pattern(n))
			got, _ := receive(t, client)
			m := &stun.Message{Raw: got}
			if err := m.Decode(); err != nil {
				t.Fatalf("client got no STUN message for %d bytes: %v: %x", n, err, got)
			}
			var from stun.XORMappedAddress
			if err := from.GetFromAs(m, stun.AttrXORPeerAddress); err != nil {
				t.Fatal(err)
			}
			data, err := m.Get(stun.AttrData)
			if err != nil {
				t.Fatal(err)
			}
			if m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) || !bytes.Equal(data, pattern(n)) ||
				from.String() != local(peer).String() {
				t.Fatalf("client got %s from %s with %x, want a Data indication from %s with %x", m, from, data, local(peer), pattern(n))
			}
		}
		r.counted("indication", 18)
	}
}

func TestLargestDatagrams(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0", "[::1]:0")
	peer := udp(t, "127.0.0.9:0")
	client4, client6 := udp(t, "127.0.0.1:0"), udp(t, "[::1]:0")
	v4 := r.allocate("a-4", client4, r.Local()[0], local(peer))
	v6 := r.allocate("a-6", client6, r.Local()[1], local(peer))

	// 65,507 bytes is the longest UDP datagram over IPv4, so 65,503 of a
	// channel's payload.
	send(t, client4, r.Local()[0], channelData(0x4000, pattern(65503)))
	if got, _ := receive(t, peer); !bytes.Equal(got, pattern(65503)) {
		t.Fatalf("peer got %d bytes, want 65503 whole", len(got))
	}
	send(t, peer, v4.Relayed, pattern(65503))
	if got, _ := receive(t, client4); !bytes.Equal(got, channelData(0x4000, pattern(65503))) {
		t.Fatalf("client got %d bytes, want 65507 whole", len(got))
	}
	// Over IPv6 there is room for the header around the longest IPv4 datagram.
	send(t, peer, v6.Relayed, pattern(65507))
	if got, _ := receive(t, client6); !bytes.Equal(got, channelData(0x4000, pattern(65507))) {
		t.Fatalf("client got %d bytes, want 65511 whole", len(got))
	}
	send(t, client6, r.Local()[1], channelData(0x4000, pattern(65507)))
	if got, _ := receive(t, peer); !bytes.Equal(got, pattern(65507)) {
		t.Fatalf("peer got %d bytes, want 65507 whole", len(got))
	}
	// What does not fit is dropped and counted, not cut.
	send(t, peer, v4.Relayed, pattern(65504))
	send(t, client6, r.Local()[1], channelData(0x4000, pattern(65508)))
	r.counted("too_large", 2)
	nothing(t, client4)
	nothing(t, peer)
	// And the sockets live on.
	send(t, peer, v4.Relayed, []byte("after"))
	if got, _ := receive(t, client4); !bytes.Equal(got, channelData(0x4000, []byte("after"))) {
		t.Fatalf("client got %x", got)
	}
}

func TestPermissionDenied(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client, peer, stranger := udp(t, "127.0.0.1:0"), udp(t, "127.0.0.9:0"), udp(t, "127.0.0.10:0")
	v := r.allocate("a-1", client, r.Local()[0], local(peer))

	send(t, stranger, v.Relayed, []byte("knock"))
	send(t, client, r.Local()[0], sendIndication(t, local(stranger), []byte("out")))
	r.counted("no_permission", 2)
	nothing(t, client)
	nothing(t, stranger)

	// A permission is for an IP address: another port of the peer passes, in a
	// Data indication, because its channel is for one transport address.
	other := udp(t, "127.0.0.9:0")
	send(t, other, v.Relayed, []byte("other port"))
	got, _ := receive(t, client)
	if !stun.IsMessage(got) {
		t.Fatalf("client got %x, want a Data indication", got)
	}
	// Somebody else's datagrams with the client's channel number are nobody's.
	send(t, stranger, r.Local()[0], channelData(0x4000, []byte("mine")))
	r.counted("no_allocation", 1)
	nothing(t, peer)
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	const lifetime = time.Minute
	for _, c := range []struct {
		name             string
		shorten          func(*turn.View, time.Time)
		toPeer, toClient string // reasons after the expiry
	}{
		{"allocation", func(v *turn.View, at time.Time) { v.Expires = at }, "allocation_expired", "allocation_expired"},
		{"channel", func(v *turn.View, at time.Time) { v.Channels[0].Expires = at }, "channel_expired", "indication"},
		{"permission", func(v *turn.View, at time.Time) {
			for p := range v.Permissions {
				v.Permissions[p] = at
			}
		}, "channel", "no_permission"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, "127.0.0.1:0")
			client, peer := udp(t, "127.0.0.1:0"), udp(t, "127.0.0.9:0")
			v := *r.allocate("a-1", client, r.Local()[0], local(peer))
			c.shorten(&v, r.now().Add(lifetime))
			r.Publish(&v)

			r.advance(lifetime - 1)
			send(t, client, r.Local()[0], channelData(0x4000, []byte("x")))
			receive(t, peer)
			send(t, peer, v.Relayed, []byte("x"))
			receive(t, client)
			r.counted("channel", 2)

			r.advance(1)
			before := r.Counters().Reasons
			send(t, client, r.Local()[0], channelData(0x4000, []byte("x")))
			send(t, peer, v.Relayed, []byte("x"))
			want := map[string]uint64{c.toPeer: before[c.toPeer] + 1}
			want[c.toClient] = max(want[c.toClient], before[c.toClient]) + 1
			for reason, n := range want {
				r.counted(reason, n)
			}
		})
	}
}

func TestWildcardAnswersFromTheAskedAddress(t *testing.T) {
	t.Parallel()
	r := serve(t, "0.0.0.0:0", "[::]:0")
	peer := udp(t, "127.0.0.9:0")
	for i, asked := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
		at := r.Local()[0]
		here := "127.0.0.1:0"
		if asked == "::1" {
			at, here = r.Local()[1], "[::1]:0"
		}
		server := netip.AddrPortFrom(netip.MustParseAddr(asked), at.Port())
		client := udp(t, here)
		request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
		send(t, client, server, request.Raw)
		var m received
		select {
		case m = <-r.control:
		case <-time.After(deadline):
			t.Fatal("no control message")
		}
		if want := (turn.FiveTuple{Client: local(client), Server: server}); m.from != want {
			t.Fatalf("control message of %v, want %v", m.from, want)
		}
		if !bytes.Equal(m.bytes, request.Raw) {
			t.Fatalf("control message %x, want %x", m.bytes, request.Raw)
		}
		m.release()
		if err := r.Send(m.from, []byte("answer")); err != nil {
			t.Fatal(err)
		}
		if got, from := receive(t, client); string(got) != "answer" || from != server {
			t.Fatalf("got %q from %s, want an answer from %s", got, from, server)
		}
		v := r.allocate("a-"+string(rune('1'+i)), client, server, local(peer))
		send(t, client, server, channelData(0x4000, []byte("out")))
		receive(t, peer)
		send(t, peer, v.Relayed, []byte("in"))
		if _, from := receive(t, client); from != server {
			t.Fatalf("data came from %s, want %s", from, server)
		}
	}
	if err := r.Send(turn.FiveTuple{Client: local(peer), Server: netip.MustParseAddrPort("127.0.0.1:1")}, nil); err == nil {
		t.Fatal("Send from an address that is not listened on succeeded")
	}
}

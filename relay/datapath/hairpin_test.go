// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"plumbline/relay/turn"
)

// public is the address that a 1:1 NAT shows for a relayed one.
func public(relayed netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.7"), relayed.Port())
}

// An endpoint is a client's socket with its relay.
type endpoint struct {
	t    *testing.T
	r    *rig
	conn *net.UDPConn
}

func (e endpoint) toRelay(b []byte) { send(e.t, e.conn, e.r.Local()[0], b) }
func (e endpoint) fromRelay() []byte {
	e.t.Helper()
	b, _ := receive(e.t, e.conn)
	return b
}

// pair makes two allocations behind a 1:1 NAT, each the peer of the other.
func pair(t *testing.T, r *rig) (a, b *turn.View, clientA, clientB endpoint) {
	t.Helper()
	ca, cb := udp(t, "127.0.0.1:0"), udp(t, "127.0.0.1:0")
	va, vb := *r.allocate("a-1", ca, r.Local()[0]), *r.allocate("a-2", cb, r.Local()[0])
	va.Public, vb.Public = public(va.Relayed), public(vb.Relayed)
	link := func(from, to *turn.View) {
		from.Guarded = to.Public.Addr()
		from.Permissions = map[netip.Addr]time.Time{to.Public.Addr(): r.now().Add(5 * time.Minute)}
		from.Channels = []turn.ChannelView{{Number: 0x4001, Peer: to.Public, Expires: r.now().Add(10 * time.Minute)}}
		r.Publish(from)
	}
	link(&va, &vb)
	link(&vb, &va)
	return &va, &vb, endpoint{t, r, ca}, endpoint{t, r, cb}
}

func TestHairpin(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	va, vb, a, b := pair(t, r)

	a.toRelay(channelData(0x4001, []byte("ping")))
	if got := b.fromRelay(); !bytes.Equal(got, channelData(0x4001, []byte("ping"))) {
		t.Fatalf("the other client got %x, want ChannelData of the channel to the first's public address", got)
	}
	b.toRelay(sendIndication(t, va.Public, []byte("pong")))
	if got := a.fromRelay(); !bytes.Equal(got, channelData(0x4001, []byte("pong"))) {
		t.Fatalf("client got %x", got)
	}
	r.counted("channel", 3)

	// The end of the peer's allocation closes the way, though its socket is
	// still there.
	r.Withdraw(vb.ID)
	a.toRelay(channelData(0x4001, []byte("late")))
	r.counted("hairpin_dead_port", 1)
}

// A permission for the relay's own relayed IP must not open what the host
// serves there.
func TestHairpinToTheHostsServices(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client, service := udp(t, "127.0.0.1:0"), udp(t, "127.0.0.1:0")
	open := r.allocate("a-1", client, r.Local()[0], local(service))
	guarded := *open
	guarded.Guarded = open.Public.Addr()
	v := &guarded
	r.Publish(v)

	send(t, client, r.Local()[0], channelData(0x4000, []byte("x")))
	send(t, client, r.Local()[0], sendIndication(t, local(service), []byte("x")))
	r.counted("hairpin_dead_port", 2)
	nothing(t, service)
	send(t, service, v.Relayed, []byte("x"))
	r.counted("hairpin_dead_port", 3)
	nothing(t, client)

	behindNAT := *v
	behindNAT.Public = public(v.Relayed)
	behindNAT.Guarded = behindNAT.Public.Addr()
	behindNAT.Permissions = map[netip.Addr]time.Time{behindNAT.Public.Addr(): v.Expires}
	r.Publish(&behindNAT)
	send(t, client, r.Local()[0], sendIndication(t, public(local(service)), []byte("x")))
	r.counted("hairpin_dead_port", 4)

	// A config that opens the address, as the embedded default does for
	// loopback, leaves it unguarded.
	r.Publish(open)
	send(t, client, r.Local()[0], channelData(0x4000, []byte("open")))
	if got, _ := receive(t, service); string(got) != "open" {
		t.Fatalf("service got %q", got)
	}
}

func TestHairpinToAnExpiredAllocation(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	_, vb, a, _ := pair(t, r)
	vb2 := *vb
	vb2.Expires = r.now().Add(time.Minute)
	r.Publish(&vb2)
	r.advance(time.Minute)
	a.toRelay(channelData(0x4001, []byte("x")))
	r.counted("hairpin_dead_port", 1)
}

// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"plumbline/relay/turn"
)

// deadline bounds every wait; nothing here takes long.
const deadline = 10 * time.Second

// A rig is a served Datapath on loopback with a clock of its own. Relayed
// addresses are on 127.0.0.1; peers are on other loopback addresses, because
// the relay's own address is open for live allocations only.
type rig struct {
	*Datapath
	t       testing.TB
	offset  atomic.Int64 // of the clock, nanoseconds
	epoch   time.Time
	control chan received
	full    atomic.Bool // the taker of control messages has no room
}

type received struct {
	from    turn.FiveTuple
	bytes   []byte
	release func()
}

func serve(t testing.TB, listen ...string) *rig {
	t.Helper()
	r := &rig{t: t, epoch: time.Date(2026, 11, 24, 3, 22, 12, 0, time.UTC), control: make(chan received, 64)}
	o := Options{Now: r.now, Control: func(from turn.FiveTuple, b []byte, release func()) bool {
		if r.full.Load() {
			return false
		}
		r.control <- received{from, b, release}
		return true
	}}
	for _, l := range listen {
		o.Listen = append(o.Listen, netip.MustParseAddrPort(l))
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Datapath = d
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx) }()
	r.eventually("serving", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.serving
	})
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(deadline):
			t.Error("Serve did not end with its context")
		}
	})
	return r
}

func (r *rig) now() time.Time          { return r.epoch.Add(time.Duration(r.offset.Load())) }
func (r *rig) advance(d time.Duration) { r.offset.Add(int64(d)) }

// eventually waits for what the data path does after a packet has been seen to
// arrive, such as counting it.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("%s: not within %v; counters %+v", what, deadline, r.Counters())
		}
	}
}

func (r *rig) counted(reason string, n uint64) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d × %s", n, reason), func() bool { return r.Counters().Reasons[reason] == n })
}

// bind binds a free relayed transport address.
func (r *rig) bind() netip.AddrPort {
	r.t.Helper()
	var err error
	for range 20 {
		probe := udp(r.t, "127.0.0.1:0")
		relayed := local(probe)
		probe.Close()
		if err = r.Bind(relayed); err == nil {
			return relayed
		}
	}
	r.t.Fatal(err)
	panic("unreachable")
}

// allocate publishes an allocation of client for 10 minutes with a permission
// for, and a channel to, every peer: 0x4000 for the first and so on.
func (r *rig) allocate(id string, client *net.UDPConn, server netip.AddrPort, peers ...netip.AddrPort) *turn.View {
	r.t.Helper()
	relayed := r.bind()
	v := &turn.View{
		ID: id, User: "alice", Tuple: turn.FiveTuple{Client: local(client), Server: server},
		Relayed: relayed, Public: relayed, Created: r.now(), Expires: r.now().Add(10 * time.Minute),
		Permissions: map[netip.Addr]time.Time{},
	}
	for i, p := range peers {
		v.Permissions[p.Addr()] = r.now().Add(5 * time.Minute)
		v.Channels = append(v.Channels, turn.ChannelView{Number: 0x4000 + uint16(i), Peer: p, Expires: r.now().Add(10 * time.Minute)})
	}
	r.Publish(v)
	return v
}

func udp(t testing.TB, address string) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadBuffer(1 << 20)
	t.Cleanup(func() { c.Close() })
	return c
}

func local(c *net.UDPConn) netip.AddrPort {
	return unmap(c.LocalAddr().(*net.UDPAddr).AddrPort())
}

func send(t testing.TB, c *net.UDPConn, to netip.AddrPort, b []byte) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatal(err)
	}
}

func receive(t testing.TB, c *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(deadline))
	b := make([]byte, maxDatagram)
	n, from, err := c.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatalf("waiting for a datagram at %s: %v", c.LocalAddr(), err)
	}
	return b[:n], unmap(from)
}

// nothing checks that no datagram stands in the socket's queue. It is called
// when whatever could have been sent has been sent.
func nothing(t testing.TB, c *net.UDPConn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	b := make([]byte, maxDatagram)
	if n, from, err := c.ReadFromUDPAddrPort(b); err == nil {
		t.Fatalf("%s received %d bytes from %s, want none: %.40x", c.LocalAddr(), n, from, b[:n])
	}
}

func channelData(number uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...)
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31)
	}
	return b
}

// unmap is for the net package, which reports IPv4 addresses in 16 bytes.
func unmap(p netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()) }

// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"plumbline/relay/turn"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	taken := udp(t, "127.0.0.1:0")
	control := func(turn.FiveTuple, []byte, func()) bool { return false }
	for _, c := range []struct {
		listen string
		is     error
		says   string
	}{
		{local(taken).String(), unix.EADDRINUSE, "ss -ulpn"},
		{"192.0.2.77:3478", unix.EADDRNOTAVAIL, "no interface"},
		{"[2001:db8::77]:3478", unix.EADDRNOTAVAIL, "no interface"},
	} {
		_, err := New(Options{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort(c.listen)}, Control: control})
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.listen) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("listen on %s: %v, want %v with the address and %q", c.listen, err, c.is, c.says)
		}
	}
	r := serve(t, "127.0.0.1:0")
	if err := r.Bind(local(taken)); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("bind of a taken address: %v", err)
	}
	relayed := r.bind()
	if err := r.Bind(relayed); err == nil {
		t.Error("an address was bound twice")
	}
	if err := r.Bind(netip.MustParseAddrPort("0.0.0.0:50000")); err == nil {
		t.Error("a wildcard was bound as a relayed address")
	}
	if err := r.Serve(context.Background()); err == nil {
		t.Error("served twice")
	}
	r.Close()
	if err := r.Bind(relayed); err == nil {
		t.Error("bound after Close")
	}
	if err := r.Send(turn.FiveTuple{Client: local(taken), Server: r.Local()[0]}, []byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close: %v", err)
	}
}

func TestReleaseFreesTheAddress(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	peer := udp(t, "127.0.0.9:0")
	relayed := r.bind()
	for range 100 {
		send(t, peer, relayed, []byte("x")) // its reader is busy
		r.Release(relayed)
		if err := r.Bind(relayed); err != nil {
			t.Fatal(err)
		}
	}
	r.Release(relayed)
	r.Release(relayed)
	if c := r.Counters(); c.Received != c.Reasons["no_allocation"] {
		t.Errorf("counters %+v", c)
	}
	r.eventually("closed sockets are retired", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.open) == 1
	})
}

func TestControlMessages(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client := udp(t, "127.0.0.1:0")
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	send(t, client, r.Local()[0], request)
	m := <-r.control
	r.counted("control", 1)
	m.release()
	r.full.Store(true)
	send(t, client, r.Local()[0], request)
	r.counted("control_queue_full", 1)
	r.full.Store(false)
	long := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.RawAttribute{Type: stun.AttrSoftware, Value: pattern(5000)})
	send(t, client, r.Local()[0], long.Raw)
	r.counted("too_large", 1)
	if c := r.Counters(); c.Passed != 1 || c.Dropped != 2 {
		t.Errorf("counters %+v", c)
	}
}

// Overflow is what was sent and never received.
func TestOverflow(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	d, err := New(Options{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, ReadBuffer: 1,
		Control: func(turn.FiveTuple, []byte, func()) bool { <-hold; return false }})
	if err != nil {
		t.Fatal(err)
	}
	go d.Serve(context.Background())
	client := udp(t, "127.0.0.1:0")
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	const sent = 500
	for range sent {
		send(t, client, d.Local()[0], request)
	}
	lost := d.Counters().Overflowed
	if lost == 0 || lost >= sent {
		t.Errorf("overflowed %d of %d", lost, sent)
	}
	close(hold)
	for end := time.Now().Add(deadline); d.Counters().Received != sent-lost; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("received %d and overflowed %d of %d", d.Counters().Received, d.Counters().Overflowed, sent)
		}
	}
	d.Close()
	if c := d.Counters(); c.Overflowed != lost || c.Received != sent-lost {
		t.Errorf("after Close: received %d and overflowed %d of %d", c.Received, c.Overflowed, sent)
	}
}

func TestBroadcastPeerIsRefused(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client := udp(t, "127.0.0.1:0")
	r.allocate("a-1", client, r.Local()[0], netip.MustParseAddrPort("127.255.255.255:9"), netip.MustParseAddrPort("224.0.0.1:9"),
		netip.MustParseAddrPort("255.255.255.255:9"), netip.MustParseAddrPort("127.0.0.9:0"))
	for i := range 4 {
		send(t, client, r.Local()[0], channelData(0x4000+uint16(i), []byte("x")))
	}
	r.counted("send_denied", 1)
	r.counted("peer_invalid", 3)
}

func TestPlausible(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]reason{
		"192.0.2.1:0": sourcePortZero, "[2001:db8::1]:0": sourcePortZero,
		"224.0.0.1:9": sourceNotUnicast, "255.255.255.255:9": sourceNotUnicast, "0.1.2.3:9": sourceNotUnicast,
		"[ff02::1]:9": sourceNotUnicast, "[::]:9": sourceNotUnicast,
	} {
		if r, ok := plausible(netip.MustParseAddrPort(source), false); ok || r != want {
			t.Errorf("%s: %v, %v; want %v", source, r, ok, want)
		}
	}
	for _, source := range []string{"192.0.2.1:1", "[2001:db8::1]:65535", "127.0.0.1:9", "[fe80::1%2]:9"} {
		if r, ok := plausible(netip.MustParseAddrPort(source), false); !ok {
			t.Errorf("%s: %v", source, r)
		}
	}
	if r, ok := plausible(netip.MustParseAddrPort("192.0.2.1:1"), true); ok || r != reason(turn.TooLarge) {
		t.Errorf("truncated: %v, %v", r, ok)
	}
}

// TestSourcePortZero sends what no socket can: a datagram from port 0.
func TestSourcePortZero(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
	if err != nil {
		if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
			t.Fatal("needs root: a raw socket: ", err)
		}
		t.Skip("needs root: a raw socket: ", err)
	}
	defer unix.Close(fd)
	r := serve(t, "127.0.0.1:0")
	relayed := r.bind()
	for _, to := range []netip.AddrPort{r.Local()[0], relayed} {
		segment := binary.BigEndian.AppendUint16([]byte{0, 0}, to.Port())
		segment = append(segment, 0, 12, 0, 0, 'z', 'e', 'r', 'o')
		if err := unix.Sendto(fd, segment, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
			t.Fatal(err)
		}
	}
	r.counted("source_port_zero", 2)
}

// A peer whose port is closed makes ICMP errors; the socket lives on.
func TestClosedPeerPort(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client, peer, gone := udp(t, "127.0.0.1:0"), udp(t, "127.0.0.9:0"), udp(t, "127.0.0.9:0")
	closed := local(gone)
	gone.Close()
	v := r.allocate("a-1", client, r.Local()[0], closed, local(peer))
	for range 10 {
		send(t, client, r.Local()[0], channelData(0x4000, []byte("nobody")))
		send(t, client, r.Local()[0], channelData(0x4001, []byte("there")))
		receive(t, peer)
		send(t, peer, v.Relayed, []byte("back"))
		receive(t, client)
	}
	r.counted("channel", 30)
}

// TestGarbage throws arbitrary bytes at both kinds of sockets: each datagram is
// counted once, and only what looks like STUN reaches the core.
func TestGarbage(t *testing.T) {
	t.Parallel()
	r := serve(t, "127.0.0.1:0")
	client, peer := udp(t, "127.0.0.1:0"), udp(t, "127.0.0.9:0")
	v := r.allocate("a-1", client, r.Local()[0], local(peer))
	r.full.Store(true)
	var sent uint64
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "bytes")
		switch rapid.IntRange(0, 3).Draw(t, "like") {
		case 0: // STUN
			if len(b) >= 8 {
				b[0] &= 0x3f
				copy(b[4:], "\x21\x12\xa4\x42")
			}
		case 1: // a Send indication
			if len(b) >= 20 {
				copy(b, []byte{0, 0x16, 0, byte(len(b) - 20), 0x21, 0x12, 0xa4, 0x42})
			}
		case 2: // ChannelData
			if len(b) >= 4 {
				copy(b, []byte{0x40, 0})
			}
		}
		send(r.t, client, r.Local()[0], b)
		send(r.t, peer, v.Relayed, b)
		sent += 2
		r.eventually("all counted", func() bool { return r.Counters().Received == sent })
	})
	c := r.Counters()
	addsUp(t, c)
	if c.Passed != 0 {
		t.Errorf("counters %+v: passed something although the core had no room", c)
	}
}

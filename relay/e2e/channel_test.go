// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"plumbline/logs"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// client is the least that a TURN client needs to be impatient.
type client struct {
	t     *testing.T
	conn  *net.UDPConn
	relay netip.AddrPort
	realm stun.Realm
	nonce stun.Nonce
	buf   []byte
}

func newClient(s *scene) *client {
	conn, err := s.bed.Host("client").ListenUDP(netip.AddrPortFrom(s.bed.Host("client").Addr(), 0))
	must(s, err)
	s.Cleanup(func() { conn.Close() })
	return &client{t: s.T, conn: conn, relay: netip.AddrPortFrom(s.bed.Host("relay").Addr(), 3478), buf: make([]byte, 1500)}
}

func (c *client) receive(patience time.Duration) ([]byte, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	n, err := c.conn.Read(c.buf)
	return c.buf[:n], err
}

// request sends a request once and takes the next datagram for its answer; a
// refusal that names realm and nonce is followed up.
func (c *client) request(method stun.Method, attributes ...stun.Setter) *stun.Message {
	c.t.Helper()
	setters := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attributes...)
	if c.nonce != nil {
		setters = append(setters, stun.NewUsername(stage.User), c.realm, c.nonce, stun.NewLongTermIntegrity(stage.User, c.realm.String(), stage.Password))
	}
	m, err := stun.Build(append(setters, stun.Fingerprint)...)
	must(c.t, err)
	_, err = c.conn.WriteToUDPAddrPort(m.Raw, c.relay)
	must(c.t, err)
	raw, err := c.receive(20 * time.Second)
	must(c.t, err)
	answer := &stun.Message{Raw: append([]byte(nil), raw...)}
	must(c.t, answer.Decode())
	if answer.Type.Class == stun.ClassErrorResponse && c.nonce == nil {
		must(c.t, answer.Parse(&c.realm, &c.nonce))
		return c.request(method, attributes...)
	}
	if answer.Type.Class != stun.ClassSuccessResponse || answer.TransactionID != m.TransactionID {
		var code stun.ErrorCodeAttribute
		_ = code.GetFrom(answer)
		c.t.Fatalf("%s was answered with %s %s", method, answer.Type, code)
	}
	return answer
}

func (c *client) allocate() {
	c.t.Helper()
	c.request(stun.MethodAllocate, stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}})
}

// build is an authenticated ChannelBind.
func (c *client) build(number uint16, peer netip.AddrPort) *stun.Message {
	c.t.Helper()
	channel := binary.BigEndian.AppendUint16(nil, number)
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodChannelBind, stun.ClassRequest),
		stun.RawAttribute{Type: stun.AttrChannelNumber, Value: append(channel, 0, 0)}, peerAddress(peer),
		stun.NewUsername(stage.User), c.realm, c.nonce, stun.NewLongTermIntegrity(stage.User, c.realm.String(), stage.Password), stun.Fingerprint)
	must(c.t, err)
	return m
}

// flood refreshes a channel so many times, with a few requests under way at once.
func (c *client) flood(times int, number uint16, peer netip.AddrPort) {
	c.t.Helper()
	for sent, answered := 0, 0; answered < times; {
		for ; sent < times && sent < answered+16; sent++ {
			_, err := c.conn.WriteToUDPAddrPort(c.build(number, peer).Raw, c.relay)
			must(c.t, err)
		}
		if _, err := c.receive(20 * time.Second); err != nil {
			c.t.Fatalf("%d requests, %d answers: %v", sent, answered, err)
		}
		answered++
	}
}

func (c *client) bind(number uint16, peer netip.AddrPort) {
	c.t.Helper()
	channel := binary.BigEndian.AppendUint16(nil, number)
	c.request(stun.MethodChannelBind, stun.RawAttribute{Type: stun.AttrChannelNumber, Value: append(channel, 0, 0)}, peerAddress(peer))
}

func (c *client) send(number uint16, payload string) {
	c.t.Helper()
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	_, err := c.conn.WriteToUDPAddrPort(append(b, payload...), c.relay)
	must(c.t, err)
}

type peerAddress netip.AddrPort

func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// ChannelData that follows the ChannelBind response at once met an empty map in
// another relay. Here the route is in the kernel before the response leaves: the
// first packet of every channel is relayed, both ways, and by the kernel.
func TestChannelDataAtOnce(t *testing.T) {
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{})
	peer := s.bed.Host("peer")
	var echo [20]*net.UDPConn
	for i := range echo {
		conn, err := peer.ListenUDP(netip.AddrPortFrom(peer.Addr(), 0))
		must(t, err)
		t.Cleanup(func() { conn.Close() })
		echo[i] = conn
		go func() {
			b := make([]byte, 1500)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				_, _ = conn.WriteToUDPAddrPort(b[:n], from)
			}
		}()
	}
	c := newClient(s)
	c.allocate()
	for i, conn := range echo {
		number, text := uint16(0x4000+i), fmt.Sprintf("at once, channel %d", i)
		c.bind(number, conn.LocalAddr().(*net.UDPAddr).AddrPort())
		c.send(number, text)
		got, err := c.receive(20 * time.Second)
		if err != nil || len(got) < 4 || binary.BigEndian.Uint16(got) != number || string(got[4:]) != text {
			t.Fatalf("channel %d: got %q, %v", i, got, err)
		}
	}
	got := final(t, s.finish())
	if got.Kernel.Relayed != 2*uint64(len(echo)) || got.Userspace.Relayed != 0 {
		t.Errorf("all %d packets were to go through the kernel: %s", 2*len(echo), asJSON(got))
	}
}

// A relay that has not heard of the peer yet: the first packets go through user
// space, whose socket makes the kernel ask for the peer's address, and none of
// them is lost. Then the kernel takes over.
func TestFirstPacketResolvesThePeer(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	t.Parallel()
	s := openCold(t, testbed.Options{})
	s.start(stage.Config{})
	s.wait("relay.started", 0, nil)
	s.peer()
	s.coturn(stage.Uclient{Clients: 4, Messages: 100, Length: 171, Interval: 10 * time.Millisecond})
	lines := s.finish()
	mostlyKernel(t, lines, 800)
	pending := named(lines, "route.failed")
	if len(pending) == 0 {
		t.Error("every route had its next hop at once: the bed was not cold, so the test shows nothing")
	}
	for _, l := range pending {
		var e logs.RouteFailed
		l.Decode(t, &e)
		if !e.Pending || e.Datapath != "userspace" {
			t.Errorf("route.failed is %s, want it pending", l.Raw)
		}
	}
}

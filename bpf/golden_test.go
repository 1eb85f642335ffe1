// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"plumbline/bpf"
	"plumbline/bpf/model"
)

// A golden is one way through the router: what the maps hold, a frame, and the
// one outcome that it must have. Its name is that outcome's, with a variant.
type golden struct {
	name  string // outcome, or outcome/variant
	scene func(*model.Router)
	frame []byte
	ctx   *bpf.XDPContext
}

var data = []byte("plumbline") // odd

// edit changes a frame and makes its checksums right again.
func edit(frame []byte, change func(f []byte)) []byte {
	change(frame)
	resum(frame)
	return frame
}

func put16(offset int, value uint16) func([]byte) {
	return func(f []byte) { binary.BigEndian.PutUint16(f[offset:], value) }
}

func put8(offset int, value byte) func([]byte) { return func(f []byte) { f[offset] = value } }

// offsets of fields in a frame
const (
	etherType = 12
	ipLength  = 16
	ipFlags   = 20
	ipTTL     = 22
	ipProto   = 23
	ipCheck   = 24
	ipSource  = 26
	udpSource = 34
	udpDest   = 36
	udpLength = 38
	udpCheck  = 40
)

func config(change func(*bpf.Config)) func(*model.Router) {
	return func(m *model.Router) {
		c := goodConfig()
		change(&c)
		m.Slots[0] = c.Encode()
	}
}

func flows(change func(*bpf.Flow)) func(*model.Router) {
	return func(m *model.Router) {
		for i := range m.Flows {
			change(&m.Flows[i])
		}
	}
}

func blank(from, to int) func(*model.Router) {
	return func(m *model.Router) { clear(m.Slots[0][from:to]) }
}

// both gives a case its two directions.
func both(reason string, scene func(*model.Router), change func([]byte)) []golden {
	verdict, rest, _ := strings.Cut(reason, " ")
	if change == nil {
		change = func([]byte) {}
	}
	return []golden{
		{name: verdict + "_to_peer_" + rest, scene: scene, frame: edit(fromClient(data), change)},
		{name: verdict + "_to_client_" + rest, scene: scene, frame: edit(fromPeer(data), change)},
	}
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func goldens() []golden {
	zero := func(m *model.Router) { *m = model.Router{Flows: make([]bpf.Flow, 4)} }
	cases := []golden{
		{name: "pass_none_config_unset/all zero", scene: zero, frame: fromClient(data)},
		{name: "pass_none_config_unset/no magic", scene: blank(0, 4), frame: fromClient(data)},
		{name: "pass_none_config_unset/other ABI", scene: func(m *model.Router) { m.Slots[0][4]++ }, frame: fromClient(data)},
		{name: "pass_none_config_unset/no generation", scene: blank(8, 12), frame: fromClient(data)},
		{name: "pass_none_config_unset/slot 2", scene: func(m *model.Router) { m.Active.Slot = 2 }, frame: fromPeer(data)},
		{name: "pass_none_config_unset/empty slot", scene: func(m *model.Router) { m.Active.Slot = 1 }, frame: fromPeer(data)},
		{name: "pass_none_lease_expired", scene: func(m *model.Router) { m.Active.LeaseUntil = 1 }, frame: fromClient(data)},
		{name: "pass_none_lease_expired/never had", scene: func(m *model.Router) { m.Active.LeaseUntil = 0 }, frame: fromClient(data)},
		{name: "pass_none_disabled", scene: config(func(c *bpf.Config) { c.Enabled = false }), frame: fromPeer(data)},
		{name: "pass_none_not_ipv4/ARP", frame: edit(fromPeer(data), put16(etherType, 0x0806))},
		{name: "pass_none_not_ipv4/IPv6", frame: edit(fromPeer(data), put16(etherType, 0x86dd))},
		{name: "pass_none_not_ipv4/14 bytes", frame: edit(fromPeer(data), put16(etherType, 0x86dd))[:14]},
		{name: "pass_none_vlan/802.1Q", frame: edit(fromPeer(data), put16(etherType, 0x8100))},
		{name: "pass_none_vlan/802.1ad", frame: edit(fromPeer(data), put16(etherType, 0x88a8))},
		{name: "pass_none_bad_header/no IP header", frame: fromPeer(data)[:33]},
		{name: "pass_none_bad_header/no UDP header", frame: fromPeer(data)[:41]},
		{name: "pass_none_bad_header/version", frame: edit(fromPeer(data), put8(14, 0x65))},
		{name: "pass_none_bad_header/header length", frame: edit(fromPeer(data), put8(14, 0x44))},
		{name: "pass_none_not_udp/TCP", frame: edit(fromPeer(data), put8(ipProto, 6))},
		{name: "pass_none_not_udp/ICMP with options", frame: edit(edit(fromPeer(data), put8(ipProto, 1)), put8(14, 0x46))},
		{name: "pass_none_ip_options", frame: edit(fromPeer(data), put8(14, 0x46))},
		{name: "pass_none_fragment/first", frame: edit(fromPeer(data), put16(ipFlags, 0x2000))},
		{name: "pass_none_fragment/last", frame: edit(fromPeer(data), put16(ipFlags, 0x0001))},
		{name: "pass_none_fragment/don't fragment", frame: edit(fromPeer(data), put16(ipFlags, 0x4100))},
		{name: "pass_none_not_ours/below", frame: edit(fromPeer(data), put16(udpDest, 49151))},
		{name: "pass_none_not_ours/DNS reply", frame: edit(fromPeer(data), put16(udpDest, 3479))},
		{name: "pass_none_not_ours/port 0", frame: edit(fromPeer(data), put16(udpDest, 0))},
		{
			name:  "pass_none_not_ours/above",
			scene: config(func(c *bpf.Config) { c.HighestPort = 50011 }), frame: fromPeer(data),
		},
		{name: "pass_to_peer_not_channel_data/STUN", frame: udpFrame(clientMAC, relayMAC, client, listen, make([]byte, 20))},
		{name: "pass_to_peer_not_channel_data/DTLS", frame: udpFrame(clientMAC, relayMAC, client, listen, channelData(0x1603, data))},
		{name: "pass_to_peer_not_channel_data/above", frame: udpFrame(clientMAC, relayMAC, client, listen, channelData(0x8000, data))},
		{name: "pass_to_peer_not_channel_data/3 bytes", frame: udpFrame(clientMAC, relayMAC, client, listen, []byte{0x40, 0, 0})},
		{name: "pass_to_peer_not_channel_data/empty", frame: udpFrame(clientMAC, relayMAC, client, listen, nil)},
		{
			name:  "pass_to_peer_padded_channel_data/to 4",
			frame: udpFrame(clientMAC, relayMAC, client, listen, cat(channelData(channel, data), make([]byte, 3))),
		},
		{
			name:  "pass_to_peer_padded_channel_data/two merged",
			frame: udpFrame(clientMAC, relayMAC, client, listen, cat(channelData(channel, data), channelData(channel, data))),
		},
		{
			name:  "pass_to_peer_truncated_channel_data",
			frame: udpFrame(clientMAC, relayMAC, client, listen, channelData(channel, data)[:12]),
		},
		{name: "pass_to_client_multi_buffer/long frame", frame: fromPeer(make([]byte, 5000))},
		{name: "pass_to_peer_multi_buffer/long frame", frame: fromClient(make([]byte, 5000))},
		{name: "pass_none_multi_buffer/IP header", frame: fromPeer(data), ctx: &bpf.XDPContext{DataEnd: 20, IngressIfindex: 1}},
		{name: "pass_none_multi_buffer/UDP header", frame: fromPeer(data), ctx: &bpf.XDPContext{DataEnd: 34, IngressIfindex: 1}},
		{name: "pass_to_peer_multi_buffer/channel", frame: fromClient(data), ctx: &bpf.XDPContext{DataEnd: 42, IngressIfindex: 1}},
	}
	join := func(more []golden) { cases = append(cases, more...) }

	join(both("pass bad_length/beyond frame", nil, func(f []byte) { put16(ipLength, uint16(len(f)-13))(f); put16(udpLength, uint16(len(f)-33))(f) }))
	join(both("pass bad_length/below headers", nil, put16(ipLength, 27)))
	join(both("pass bad_length/UDP shorter", nil, func(f []byte) { put16(udpLength, uint16(len(f)-35))(f) }))
	join(both("pass bad_length/UDP longer", nil, func(f []byte) { put16(udpLength, uint16(len(f)-33))(f) }))
	join(both("pass bad_length/UDP 0", nil, put16(udpLength, 0)))
	join(both("pass martian/source port 0", nil, put16(udpSource, 0)))
	join(both("pass martian/loopback", nil, put8(ipSource, 127)))
	join(both("pass martian/this network", nil, put8(ipSource, 0)))
	join(both("pass martian/multicast", nil, put8(ipSource, 224)))
	join(both("pass martian/broadcast", nil, put8(ipSource, 255)))
	join(both("pass martian/Ethernet group", nil, put8(0, 0x33)))
	join(both("pass no_route/other port", nil, put16(udpSource, 40113)))
	join(both("pass no_route/other address", nil, put8(ipSource+3, 99)))
	join(both("pass no_route/none", func(m *model.Router) { m.Routes = nil }, nil))
	join([]golden{{
		name:  "pass_to_peer_no_route/other channel",
		frame: udpFrame(clientMAC, relayMAC, client, listen, channelData(0x4001, data)),
	}})
	join(both("pass route_changed/reused number", flows(func(f *bpf.Flow) { f.Key.Remote = listen }), nil))
	join(both("pass route_changed/beyond the map", func(m *model.Router) {
		for key := range m.Routes {
			m.Routes[key] = 1 << 20
		}
	}, nil))
	join(both("pass route_changed/empty flow", func(m *model.Router) {
		for key := range m.Routes {
			m.Routes[key] = 3
		}
	}, nil))
	join(both("pass expired", flows(func(f *bpf.Flow) { f.ExpiryNS = 1 }), nil))
	join(both("pass expired/never had", flows(func(f *bpf.Flow) { f.ExpiryNS = 0 }), nil))
	join(both("pass no_next_hop", flows(func(f *bpf.Flow) { f.Ifindex = 0 }), nil))
	join(both("pass unsupported_flow/channel", flows(func(f *bpf.Flow) { f.Channel ^= channel }), nil))
	join(both("pass unsupported_flow/IPv6 source", flows(func(f *bpf.Flow) { f.Source = netip.MustParseAddrPort("[2001:db8::ffff:c000:207]:1") }), nil))
	join(both("pass unsupported_flow/IPv6 destination", flows(func(f *bpf.Flow) { f.Destination = netip.MustParseAddrPort("[2001:db8::1]:1") }), nil))
	join(both("pass ttl/1", nil, put8(ipTTL, 1)))
	join(both("pass ttl/0", nil, put8(ipTTL, 0)))
	join([]golden{
		{name: "pass_to_peer_too_big", scene: flows(func(f *bpf.Flow) { f.MTU = 36 }), frame: fromClient(data)},
		{name: "pass_to_client_too_big", scene: flows(func(f *bpf.Flow) { f.MTU = 40 }), frame: fromPeer(data)},
		{name: "relay_tx_to_peer_routed/just fits", scene: flows(func(f *bpf.Flow) { f.MTU = 37 }), frame: fromClient(data)},
		{name: "relay_tx_to_client_routed/just fits", scene: flows(func(f *bpf.Flow) { f.MTU = 41 }), frame: fromPeer(data)},
		{name: "relay_tx_to_peer_routed/empty", frame: fromClient(nil)},
		{name: "relay_tx_to_client_routed/empty", frame: fromPeer(nil)},
		{name: "relay_tx_to_peer_routed/largest", frame: fromClient(make([]byte, 1468))},
		{name: "relay_tx_to_client_routed/largest", frame: fromPeer(make([]byte, 1468))},
		{name: "relay_tx_to_peer_routed/padded to 60", frame: cat(fromClient(data), make([]byte, 5))},
		{name: "relay_tx_to_client_routed/padded to 60", frame: cat(fromPeer(data), bytes.Repeat([]byte{0xff}, 9))},
		{name: "relay_tx_to_client_routed/trailer", frame: cat(fromPeer(make([]byte, 100)), bytes.Repeat([]byte{0xff}, 101))},
		{
			name:  "relay_tx_to_client_routed/lowest port",
			scene: config(func(c *bpf.Config) { c.LowestPort, c.HighestPort = 50012, 50012 }), frame: fromPeer(data),
		},
		{
			name:  "relay_tx_to_peer_routed/eighth listen port",
			scene: config(func(c *bpf.Config) { c.ListenPorts = []uint16{1, 2, 3, 4, 5, 6, 7, 3478} }), frame: fromClient(data),
		},
		{
			name:  "relay_tx_to_peer_routed/listen port within the range",
			scene: config(func(c *bpf.Config) { c.LowestPort = 1 }), frame: fromClient(data),
		},
		{name: "relay_tx_to_client_routed/other slot", scene: func(m *model.Router) {
			m.Slots[0], m.Slots[1] = m.Slots[1], m.Slots[0]
			m.Active.Slot = 1
		}, frame: fromPeer(data)},
	})
	noChecksum := func(f []byte) { put16(udpCheck, 0)(f) }
	for _, outcome := range []string{"relay_tx", "relay_redirect"} {
		hop := flows(func(f *bpf.Flow) {
			if outcome == "relay_redirect" {
				f.Ifindex = 2
			}
		})
		off := func(m *model.Router) { hop(m); config(func(c *bpf.Config) { c.UDPChecksum = false })(m) }
		join(both(outcome+" routed", hop, nil))
		join(both(outcome+" routed/TTL 2", hop, put8(ipTTL, 2)))
		join(both(outcome+" routed/may be fragmented", hop, put16(ipFlags, 0)))
		join(both(outcome+" routed/checksums off", off, nil))
		for _, g := range both(outcome+" routed/no checksum", hop, nil) {
			noChecksum(g.frame)
			join([]golden{g})
		}
		for _, g := range both(outcome+" routed/wrong checksums", hop, nil) {
			put16(udpCheck, 0x1234)(g.frame)
			put16(ipCheck, 0x4321)(g.frame)
			join([]golden{g})
		}
	}
	return cases
}

// unreachable outcomes have no golden, and why.
var unreachable = map[string]string{
	"pass_to_peer_no_headroom":      "taking bytes away needs no room",
	"pass_to_client_no_headroom":    "TestNoHeadroom runs a frame until it has none",
	"drop_to_peer_rewrite_failed":   "what it guards cannot fail after the checks",
	"drop_to_client_rewrite_failed": "what it guards cannot fail after the checks",
}

func TestGolden(t *testing.T) {
	p := newPair(t, 4)
	seen := make(map[string]bool)
	for _, g := range goldens() {
		outcome, _, _ := strings.Cut(g.name, "/")
		seen[outcome] = true
		t.Run(g.name, func(t *testing.T) {
			m := scene()
			if g.scene != nil {
				g.scene(&m)
			}
			p.set(t, m)
			original := bytes.Clone(g.frame)
			got, err := p.run(g.frame, g.ctx)
			if g.ctx != nil && errors.Is(err, unix.EINVAL) {
				cannot(t, "a kernel that test-runs frames of several buffers (6.18)", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Outcome.String() != outcome {
				t.Fatalf("got %s", got.Outcome)
			}
			if got.Verdict == bpf.Pass && !bytes.Equal(got.Out, original) {
				t.Fatal("the model changed a frame that it passes")
			}
		})
	}
	for _, o := range bpf.Outcomes() {
		if name := o.String(); !seen[name] && unreachable[name] == "" {
			t.Errorf("no golden for %s", name)
		}
	}
}

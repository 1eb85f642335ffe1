// SPDX-License-Identifier: Apache-2.0

// Package model is what the router in router.c ought to do, in plain Go: what
// is in the maps, a frame and the time go in, a verdict and a frame come out.
//
// It was written from the router's description, not from its code, and works
// another way: it takes a packet apart, decides, and builds a new one with all
// sums made from scratch. The tests run both on the same frames, so that a
// mistake must be made twice to go unseen.
package model

import (
	"encoding/binary"
	"net/netip"

	"plumbline/bpf"
)

// Router is what the maps hold.
type Router struct {
	Slots  [bpf.Slots]bpf.Slot
	Active bpf.Active
	Routes map[bpf.RouteKey]uint32
	Flows  []bpf.Flow // by number
}

// Frame is one frame as a device hands it up.
type Frame struct {
	Bytes []byte
	// Linear is how many of them are in the first buffer, which is all that
	// the router reads.
	Linear  int
	Ifindex uint32 // where it came in
}

// Result is what becomes of a frame.
type Result struct {
	bpf.Outcome
	// Out is the frame as it leaves: if passed, the same bytes.
	Out []byte
	// Flow is the number that relayed it, or bpf.NoFlow.
	Flow uint32
	// Payload is the application data in it, if it was relayed.
	Payload int
}

// LargestFrame is the largest that is sure to lie in one buffer.
const LargestFrame = 3520

type config struct {
	generation, flags     uint32
	lowest, highest       uint16
	listen                map[uint16]bool
	enabled, udpChecksums bool
}

// config reads the slot in use. Zeros are no config, nor is anything that has
// not the magic, the ABI and a generation.
func (r Router) config() (config, bool) {
	if r.Active.Slot >= bpf.Slots {
		return config{}, false
	}
	s := r.Slots[r.Active.Slot]
	le, be := binary.LittleEndian, binary.BigEndian
	c := config{generation: le.Uint32(s[8:]), flags: le.Uint32(s[12:]), listen: map[uint16]bool{}}
	if string(s[:4]) != "mulp" || le.Uint32(s[4:]) != 1 || c.generation == 0 {
		return config{}, false
	}
	c.enabled, c.udpChecksums = c.flags&1 != 0, c.flags&2 != 0
	for i := range 8 {
		if port := be.Uint16(s[16+2*i:]); port != 0 {
			c.listen[port] = true
		}
	}
	c.lowest, c.highest = be.Uint16(s[32:]), be.Uint16(s[34:])
	return c, true
}

// Decide gives a frame its fate at a moment of CLOCK_MONOTONIC.
func (r Router) Decide(frame Frame, now uint64) Result {
	pass := func(direction bpf.Direction, reason string) Result {
		return Result{
			Outcome: bpf.Outcome{Verdict: bpf.Pass, Direction: direction, Reason: reason},
			Out:     frame.Bytes, Flow: bpf.NoFlow,
		}
	}
	c, ok := r.config()
	switch {
	case !ok:
		return pass(bpf.None, "config_unset")
	case now >= r.Active.LeaseUntil:
		return pass(bpf.None, "lease_expired")
	case !c.enabled:
		return pass(bpf.None, "disabled")
	}
	direction, reason := classify(frame, c)
	if reason != "" {
		return pass(direction, reason)
	}

	d := parse(frame.Bytes)
	key := bpf.RouteKey{Remote: d.src, Local: d.dst}
	if direction == bpf.ToPeer {
		if reason := checkChannelData(frame, d.payload); reason != "" {
			return pass(direction, reason)
		}
		key.Channel = binary.BigEndian.Uint16(d.payload)
	}
	number, ok := r.Routes[key]
	if !ok {
		return pass(direction, "no_route")
	}
	if number >= uint32(len(r.Flows)) || r.Flows[number].Key != key {
		return pass(direction, "route_changed")
	}
	flow := r.Flows[number]
	out, reason := rewrite(d, flow, direction, now)
	if reason != "" {
		result := pass(direction, reason)
		result.Flow = number
		return result
	}
	result := Result{
		Outcome: bpf.Outcome{Verdict: bpf.RelayTX, Direction: direction, Reason: "routed"},
		Out:     out.build(c.udpChecksums), Flow: number, Payload: len(d.payload),
	}
	if direction == bpf.ToPeer {
		result.Payload -= channelHeader
	}
	if flow.Ifindex != frame.Ifindex {
		result.Verdict = bpf.RelayRedirect
	}
	return result
}

// classify finds a frame's direction, or why it is not for the router. The
// order is part of it: a frame can have several things wrong.
func classify(frame Frame, c config) (bpf.Direction, string) {
	be := binary.BigEndian
	b := frame.Bytes
	if frame.Linear < etherHeader {
		return bpf.None, "multi_buffer"
	}
	switch be.Uint16(b[12:]) {
	case 0x0800:
	case 0x8100, 0x88a8:
		return bpf.None, "vlan"
	default:
		return bpf.None, "not_ipv4"
	}

	ip := b[etherHeader:]
	switch {
	case len(ip) < ipHeader:
		return bpf.None, "bad_header"
	case frame.Linear < etherHeader+ipHeader:
		return bpf.None, "multi_buffer"
	case ip[0]>>4 != 4 || ip[0]&15 < 5:
		return bpf.None, "bad_header"
	case ip[9] != 17:
		return bpf.None, "not_udp"
	case ip[0]&15 > 5:
		return bpf.None, "ip_options"
	case be.Uint16(ip[6:])&0x2000 != 0, be.Uint16(ip[6:])&0x1fff != 0:
		return bpf.None, "fragment"
	case len(ip) < ipHeader+udpHeader:
		return bpf.None, "bad_header"
	case frame.Linear < etherHeader+ipHeader+udpHeader:
		return bpf.None, "multi_buffer"
	}

	udp := ip[ipHeader:]
	source, port := be.Uint16(udp), be.Uint16(udp[2:])
	var direction bpf.Direction
	switch {
	case port == 0:
		return bpf.None, "not_ours"
	case c.listen[port]:
		direction = bpf.ToPeer
	case c.lowest <= port && port <= c.highest:
		direction = bpf.ToClient
	default:
		return bpf.None, "not_ours"
	}

	total := int(be.Uint16(ip[2:]))
	from := netip.AddrFrom4([4]byte(ip[12:16]))
	switch {
	case total < ipHeader+udpHeader, total > len(ip), int(be.Uint16(udp[4:])) != total-ipHeader:
		return direction, "bad_length"
	case len(b) > LargestFrame:
		return direction, "multi_buffer"
	case b[0]&1 != 0, source == 0, from.IsLoopback(), from.As4()[0] == 0, from.As4()[0] >= 224:
		return direction, "martian"
	}
	return direction, ""
}

// checkChannelData says why a client's payload is not one whole ChannelData
// message (RFC 8656 §12.4).
func checkChannelData(frame Frame, payload []byte) string {
	switch {
	case len(payload) < channelHeader:
		return "not_channel_data"
	case frame.Linear < etherHeader+ipHeader+udpHeader+channelHeader:
		return "multi_buffer"
	case payload[0]&0xc0 != 0x40:
		return "not_channel_data"
	}
	length := int(binary.BigEndian.Uint16(payload[2:]))
	switch data := len(payload) - channelHeader; {
	case length < data:
		return "padded_channel_data"
	case length > data:
		return "truncated_channel_data"
	}
	return ""
}

// rewrite makes the datagram that leaves, or says why there is none.
func rewrite(d datagram, flow bpf.Flow, direction bpf.Direction, now uint64) (datagram, string) {
	switch {
	case now >= flow.ExpiryNS:
		return d, "expired"
	case flow.Ifindex == 0:
		return d, "no_next_hop"
	case !flow.Source.Addr().Is4(), !flow.Destination.Addr().Is4():
		return d, "unsupported_flow"
	case (direction == bpf.ToPeer) != (flow.Channel == 0):
		return d, "unsupported_flow"
	case d.ttl <= 1:
		return d, "ttl"
	}
	out := d
	out.dstMAC, out.srcMAC = flow.DstMAC, flow.SrcMAC
	out.src, out.dst = flow.Source, flow.Destination
	out.ttl--
	if direction == bpf.ToPeer {
		out.payload = d.payload[channelHeader:]
	} else {
		header := binary.BigEndian.AppendUint16(nil, flow.Channel)
		header = binary.BigEndian.AppendUint16(header, uint16(len(d.payload)))
		out.payload = append(header, d.payload...)
	}
	if ipHeader+udpHeader+len(out.payload) > int(flow.MTU) {
		return d, "too_big"
	}
	return out, ""
}

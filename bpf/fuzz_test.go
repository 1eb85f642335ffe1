// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"plumbline/bpf"
	"plumbline/bpf/model"
)

var differ = flag.Duration("differ", 0, "run the comparison of router and model for so long, instead of 20,000 frames")

const fuzzFlows = 8

// random is a source of scenes and frames that are nearly right: close enough
// to get far into the router, wrong in all sorts of ways.
type random struct{ *rand.Rand }

func (r random) oneIn(n int) bool { return r.IntN(n) == 0 }

func pick[T any](r random, of ...T) T { return of[r.IntN(len(of))] }

func (r random) addr() netip.Addr {
	return pick(r, client.Addr(), listen.Addr(), peer.Addr(), netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))}))
}

func (r random) port() uint16 {
	return pick(r, client.Port(), listen.Port(), relayed.Port(), peer.Port(), uint16(50000+r.IntN(4)), uint16(r.Uint32()))
}

func (r random) addrPort() netip.AddrPort {
	a := r.addr()
	if r.oneIn(30) {
		a = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4})
	}
	return netip.AddrPortFrom(a, r.port())
}

func (r random) channel() uint16 {
	return pick(r, 0, channel, channel+1, 0x7fff, uint16(0x4000+r.IntN(0x4000)))
}

func (r random) mac() (m [6]byte) {
	binary.BigEndian.PutUint32(m[2:], r.Uint32())
	return m
}

// time is far from now on either side: router and model read clocks that differ.
func (r random) time() uint64 {
	if r.oneIn(25) {
		return pick(r, 0, 1, uint64(r.Uint32()))
	}
	return pick(r, never, never>>1)
}

func (r random) flow(key bpf.RouteKey) bpf.Flow {
	f := bpf.Flow{
		Key: key, Source: r.addrPort(), Destination: r.addrPort(),
		Ifindex: pick(r, uint32(1), 1, 2, 3), SrcMAC: r.mac(), DstMAC: r.mac(),
		MTU: pick(r, uint16(1500), 1500, 1500, 9000, uint16(r.IntN(120))), ExpiryNS: r.time(),
	}
	if (key.Channel == 0) != r.oneIn(20) {
		f.Channel = uint16(0x4000 + r.IntN(0x4000))
	}
	if r.oneIn(20) {
		f.Ifindex = 0
	}
	if r.oneIn(20) {
		f.Key = bpf.RouteKey{Remote: r.addrPort(), Local: r.addrPort(), Channel: r.channel()}
	}
	return f
}

func (r random) scene() model.Router {
	m := model.Router{Routes: map[bpf.RouteKey]uint32{}, Flows: make([]bpf.Flow, fuzzFlows)}
	for i := range m.Slots {
		c := bpf.Config{
			Generation: r.Uint32(), Enabled: !r.oneIn(20), UDPChecksum: !r.oneIn(4),
			LowestPort: pick(r, uint16(1), 1, 9000, 49152, r.port()), HighestPort: pick(r, uint16(65535), 65535, 60000, r.port()),
			ListenPorts: []uint16{3478},
		}
		for range r.IntN(bpf.MaxListenPorts) {
			c.ListenPorts = append(c.ListenPorts, pick(r, uint16(3478), 0, uint16(1+r.IntN(1000))))
		}
		m.Slots[i] = c.Encode()
		if r.oneIn(15) {
			m.Slots[i][r.IntN(len(m.Slots[i]))] ^= 1 << r.IntN(8)
		}
		if r.oneIn(40) {
			clear(m.Slots[i][:])
		}
	}
	m.Active = bpf.Active{Slot: uint32(r.IntN(2)), LeaseUntil: r.time()}
	if r.oneIn(40) {
		m.Active.Slot = r.Uint32()
	}
	for n := range m.Flows {
		key := bpf.RouteKey{
			Remote: netip.AddrPortFrom(r.addr(), r.port()), Local: netip.AddrPortFrom(r.addr(), r.port()),
		}
		if r.oneIn(2) {
			key.Channel = r.channel()
			key.Local = netip.AddrPortFrom(r.addr(), 3478)
		}
		m.Flows[n] = r.flow(key)
		m.Routes[key] = uint32(n)
		if r.oneIn(20) {
			m.Routes[key] = r.Uint32() // another's number, or none
		}
	}
	return m
}

// frame aims at one of the scene's routes, and then mutates.
func (r random) frame(m model.Router) []byte {
	var key bpf.RouteKey
	nth := r.IntN(len(m.Routes))
	for n := range m.Flows { // maps have no order that a seed would give again
		if _, ok := m.Routes[m.Flows[n].Key]; ok && nth >= 0 {
			key, nth = m.Flows[n].Key, nth-1
		}
	}
	payload := make([]byte, pick(r, 0, 1, r.IntN(60), r.IntN(1500), r.IntN(4200)))
	if !r.oneIn(4) {
		for i := range payload {
			payload[i] = byte(r.Uint32())
		}
	}
	if key.Channel != 0 || r.oneIn(8) {
		payload = channelData(key.Channel, payload)
		if r.oneIn(10) {
			payload = append(payload, make([]byte, r.IntN(5))...)
		}
		if r.oneIn(20) {
			payload = payload[:r.IntN(len(payload)+1)]
		}
	}
	if !key.Remote.Addr().Is4() || !key.Local.Addr().Is4() {
		key.Remote, key.Local = client, listen
	}
	f := udpFrame(r.mac(), r.mac(), key.Remote, key.Local, payload)
	f[0] &^= 1
	f[ipTTL] = pick(r, 64, 255, byte(r.Uint32()))
	if r.oneIn(4) { // any field, with right sums
		offset := pick(r, r.IntN(len(f)), r.IntN(50), ipLength+r.IntN(2), udpLength+r.IntN(2)) % len(f)
		f[offset] = pick(r, 0, 0xff, f[offset]+1, f[offset]-1, byte(r.Uint32()))
	}
	if r.oneIn(60) {
		binary.BigEndian.PutUint16(f[etherType:], pick(r, uint16(0x8100), 0x88a8, 0x86dd))
	}
	resum(f)
	if r.oneIn(6) { // wrong sums, or none
		binary.BigEndian.PutUint16(f[udpCheck:], pick(r, 0, 0xffff, uint16(r.Uint32())))
	}
	if r.oneIn(10) {
		binary.BigEndian.PutUint16(f[ipCheck:], pick(r, 0, 0xffff, uint16(r.Uint32())))
	}
	switch {
	case r.oneIn(8):
		f = append(f, make([]byte, r.IntN(64))...)
	case r.oneIn(25):
		f = f[:14+r.IntN(len(f)-13)]
	}
	return f
}

// compare runs some frames through a random scene, which changes under them.
func compare(t testing.TB, p *pair, seed uint64, extra []byte, outcomes map[string]int) int {
	t.Helper()
	r := random{rand.New(rand.NewPCG(seed, 1))}
	m := r.scene()
	p.set(t, m)
	const frames = 24
	for i := range frames {
		frame := r.frame(m)
		if i == 0 && len(extra) >= 14 {
			frame = extra
		}
		if r.oneIn(8) { // a flow ends, is renewed, or its number gets another user
			n := r.IntN(len(m.Flows))
			if r.oneIn(2) {
				m.Flows[n].ExpiryNS = r.time()
				if err := p.maps.SetExpiry(uint32(n), m.Flows[n].ExpiryNS); err != nil {
					t.Fatal(err)
				}
			} else {
				m.Flows[n] = r.flow(m.Flows[r.IntN(len(m.Flows))].Key)
				if err := p.maps.PutFlow(uint32(n), m.Flows[n]); err != nil {
					t.Fatal(err)
				}
			}
		}
		got, err := p.run(frame, nil)
		if err != nil {
			t.Fatalf("seed %d, frame %d: %v", seed, i, err)
		}
		outcomes[got.Outcome.String()]++
	}
	return frames
}

// The router against its model, on 20,000 frames (or -differ DURATION).
func TestRouterAgainstModel(t *testing.T) {
	p := newPair(t, fuzzFlows)
	outcomes := make(map[string]int)
	frames := 0
	seed := uint64(1)
	for end := time.Now().Add(*differ); frames < 20000 || time.Now().Before(end); seed++ {
		frames += compare(t, p, seed, nil, outcomes)
	}
	t.Logf("%d frames, seeds 1 to %d: %v", frames, seed-1, outcomes)
	for _, o := range bpf.Outcomes() {
		name := o.String()
		if outcomes[name] == 0 && unreachable[name] == "" && o.Reason != "multi_buffer" {
			t.Errorf("no frame got as far as %s", name)
		}
	}
}

func FuzzRouter(f *testing.F) {
	for _, g := range goldens() {
		f.Add(uint64(1), g.frame)
	}
	p := newPair(f, fuzzFlows)
	f.Fuzz(func(t *testing.T, seed uint64, frame []byte) {
		if len(frame) > 8192 {
			t.Skip("larger than a test run takes")
		}
		compare(t, p, seed, frame, make(map[string]int))
	})
}

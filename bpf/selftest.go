// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
)

// XDP verdicts, enum xdp_action in linux/bpf.h.
const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpTX       = 3
	xdpRedirect = 4
)

// Frames of the self-test: Ethernet, IPv4, UDP and payload. The checksums are
// full ones, and were not computed by the router.
const (
	clientFrame = "0200000000010200000000020800" +
		"45b800291234400040113b99c6336404c0000207" +
		"9cb00d9600151280" +
		"40000009706c756d626c696e65"
	toPeerFrame = "0200000000030200000000010800" +
		"45b80025123440003f112acbc0000207cb007109" +
		"c35c232800110481" +
		"706c756d626c696e65"
	peerFrame = "0200000000010200000000030800" +
		"45b8002512344000401129cbcb007109c0000207" +
		"2328c35c00110481" +
		"706c756d626c696e65"
	toClientFrame = "0200000000020200000000010800" +
		"45b80029123440003f113c99c0000207c6336404" +
		"0d969cb000151280" +
		"40000009706c756d626c696e65"
)

// testIfindex is the loopback's number in every namespace, and where frames of
// a test run come from.
const testIfindex = 1

// SelfTest runs frames through the program in this kernel: without a config
// they must pass untouched, and with one they must come out relayed, byte for
// byte, in both directions.
//
// It probes a second copy of the program (the same instructions, by the
// kernel's tag) over small maps of its own, so that the maps, the counters and
// the frames of the router itself are not touched. It takes the same
// capabilities as Load, so run it before they are dropped.
func (r *Router) SelfTest() error {
	program, kernel, err := load(2, nil)
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	defer program.Close()
	maps, err := newMaps(kernel, true)
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	defer maps.Close()
	info, err := program.Info()
	if err != nil {
		return fmt.Errorf("self-test: read back the copy: %w", err)
	}
	if info.Tag != r.tag {
		return fmt.Errorf("self-test: the copy has tag %s, the router %s", info.Tag, r.tag)
	}
	if err := probe(program, maps); err != nil {
		return fmt.Errorf("self-test of the router (tag %s): %w", r.tag, err)
	}
	return nil
}

func probe(program *ebpf.Program, maps *Maps) error {
	if err := expect(program, maps, "a frame without a config", clientFrame, clientFrame, xdpPass,
		Outcome{Pass, None, "config_unset"}); err != nil {
		return err
	}

	listen := netip.MustParseAddrPort("192.0.2.7:3478")
	relayed := netip.MustParseAddrPort("192.0.2.7:50012")
	client := netip.MustParseAddrPort("198.51.100.4:40112")
	peer := netip.MustParseAddrPort("203.0.113.9:9000")
	const channel = 0x4000
	relay, atClient, atPeer := [6]byte{2, 0, 0, 0, 0, 1}, [6]byte{2, 0, 0, 0, 0, 2}, [6]byte{2, 0, 0, 0, 0, 3}
	never := ^uint64(0)

	config := Config{
		Generation: 1, Enabled: true, UDPChecksum: true,
		LowestPort: 50000, HighestPort: 50999, ListenPorts: []uint16{3478},
	}
	flows := []Flow{
		{
			Key:    RouteKey{Remote: client, Local: listen, Channel: channel},
			Source: relayed, Destination: peer,
			Ifindex: testIfindex, SrcMAC: relay, DstMAC: atPeer, MTU: 1500, ExpiryNS: never,
		},
		{
			Key:    RouteKey{Remote: peer, Local: relayed},
			Source: listen, Destination: client, Channel: channel,
			Ifindex: testIfindex, SrcMAC: relay, DstMAC: atClient, MTU: 1500, ExpiryNS: never,
		},
	}
	var errs []error
	errs = append(errs, maps.WriteSlot(1, config.Encode()), maps.WriteActive(Active{Slot: 1, LeaseUntil: never}))
	for number, flow := range flows {
		errs = append(errs, maps.PutFlow(uint32(number), flow), maps.PutRoute(flow.Key, uint32(number)))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}

	if err := expect(program, maps, "a client's ChannelData", clientFrame, toPeerFrame, xdpTX,
		Outcome{RelayTX, ToPeer, "routed"}); err != nil {
		return err
	}
	return expect(program, maps, "a peer's datagram", peerFrame, toClientFrame, xdpTX,
		Outcome{RelayTX, ToClient, "routed"})
}

// expect runs one frame and compares verdict, bytes and counters.
func expect(program *ebpf.Program, maps *Maps, what, in, out string, verdict uint32, outcome Outcome) error {
	frame, err := hex.DecodeString(in)
	if err != nil {
		return err
	}
	want, err := hex.DecodeString(out)
	if err != nil {
		return err
	}
	before, err := maps.Counters()
	if err != nil {
		return err
	}
	run := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64)}
	got, err := program.Run(&run)
	if err != nil {
		return fmt.Errorf("run %s: %w", what, err)
	}
	after, err := maps.Counters()
	if err != nil {
		return err
	}
	switch since := after.Sub(before); {
	case got != verdict:
		return fmt.Errorf("%s got XDP verdict %d, want %d", what, got, verdict)
	case !bytes.Equal(run.DataOut, want):
		return fmt.Errorf("%s came out as %x, want %x", what, run.DataOut, want)
	case since.Received != 1 || since.Of(outcome) != 1 || since.Decided() != 1:
		return fmt.Errorf("%s was counted as %v of %d received, want one %s", what, since.Reasons(), since.Received, outcome)
	}
	return nil
}

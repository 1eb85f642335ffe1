// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// member is "offset+size" in bytes.
func member(offset, size int) string { return fmt.Sprintf("%d+%d", offset, size) }

// The C structs as the object's BTF has them, against the constants that the Go
// codecs use: every field of each, in order.
func TestLayout(t *testing.T) {
	type layout struct {
		size   int
		fields []string // name offset+size
	}
	want := map[string]layout{
		"config_slot": {len(Slot{}), []string{
			"magic " + member(0, 4),
			"abi " + member(slotABI, 4),
			"generation " + member(slotGeneration, 4),
			"flags " + member(slotFlags, 4),
			"listen_ports " + member(slotListenPorts, 2*MaxListenPorts),
			"lowest_port " + member(slotLowestPort, 2),
			"highest_port " + member(slotHighestPort, 2),
			"checksum " + member(slotChecksum, 4),
		}},
		"config_active": {activeSize, []string{
			"slot " + member(0, 4), "reserved " + member(4, 4), "lease_until " + member(activeLease, 8),
		}},
		"route_key": {keySize, []string{
			"remote " + member(0, 16), "local " + member(keyLocal, 16),
			"remote_port " + member(keyRemotePort, 2), "local_port " + member(keyLocalPort, 2),
			"channel " + member(keyChannel, 2), "reserved " + member(keyReserved, 2),
		}},
		"flow": {flowSize, []string{
			"key " + member(0, keySize),
			"source " + member(flowSource, 16), "destination " + member(flowDestination, 16),
			"source_port " + member(flowSourcePort, 2), "destination_port " + member(flowDestPort, 2),
			"channel " + member(flowChannel, 2), "mtu " + member(flowMTU, 2), "ifindex " + member(flowIfindex, 4),
			"dst_mac " + member(flowDstMAC, 6), "src_mac " + member(flowSrcMAC, 6),
			"expiry " + member(flowExpiry, 8), "serial " + member(flowSerial, 4), "reserved " + member(flowSerial+4, 4),
		}},
		"flow_counters": {flowCountersSize, []string{
			"packets " + member(0, 8), "bytes " + member(8, 8), "serial " + member(16, 4), "generation " + member(20, 4),
		}},
		"observed": {16, []string{
			"generation " + member(0, 4), "reserved " + member(4, 4), "packets " + member(8, 8),
		}},
		"decision": {decisionSize, []string{
			"time " + member(0, 8), "outcome " + member(decisionOutcome, 4), "generation " + member(decisionGeneration, 4),
			"flow " + member(decisionFlow, 4), "cpu " + member(decisionCPU, 4), "ifindex " + member(decisionIfindex, 4),
			"length " + member(decisionLength, 4), "key " + member(decisionKey, keySize),
		}},
	}
	// One word for each outcome, under its name.
	counters := layout{8 * counterWords, []string{"received " + member(0, 8), "decisions_lost " + member(8*wordDecisionsLost, 8)}}
	for i, o := range outcomes {
		counters.fields = append(counters.fields, o.String()+" "+member(8*(firstOutcome+i), 8))
	}
	want["counters"] = counters

	spec, err := loadRouter()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range want {
		var c *btf.Struct
		if err := spec.Types.TypeByName(name, &c); err != nil {
			t.Errorf("struct %s: %v", name, err)
			continue
		}
		if int(c.Size) != want.size {
			t.Errorf("struct %s has %d bytes, Go takes it for %d", name, c.Size, want.size)
		}
		var got []string
		for _, m := range c.Members {
			size, err := btf.Sizeof(m.Type)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.Name+" "+member(int(m.Offset.Bytes()), size))
		}
		if !slices.Equal(got, want.fields) {
			t.Errorf("struct %s is\n%s\nGo takes it for\n%s", name, strings.Join(got, "\n"), strings.Join(want.fields, "\n"))
		}
	}
	if flowExpiry%8 != 0 || flowSize%8 != 0 {
		t.Error("the expiry of each flow must be an aligned word")
	}
}

// The enum of the counters and the constants, against their Go side.
func TestEnums(t *testing.T) {
	values := func(name string) map[string]int64 {
		spec, err := loadRouter()
		if err != nil {
			t.Fatal(err)
		}
		var e *btf.Enum
		if err := spec.Types.TypeByName(name, &e); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]int64)
		for _, v := range e.Values {
			got[v.Name] = int64(int32(v.Value))
		}
		return got
	}
	got := values("counter")
	want := map[string]int64{"COUNTER_received": wordReceived, "COUNTER_decisions_lost": wordDecisionsLost}
	for i, o := range outcomes {
		want["COUNTER_"+o.String()] = int64(firstOutcome + i)
	}
	sameMap(t, "enum counter", got, want)
	flow := NoFlow
	sameMap(t, "enum contract", values("contract"), map[string]int64{
		"ROUTER_ABI": ABI, "SLOTS": Slots, "FLAG_ENABLED": flagEnabled, "FLAG_UDP_CHECKSUM": flagUDPChecksum,
		"LISTEN_PORTS": MaxListenPorts, "SLOT_MAGIC": slotMagic,
		"SAMPLE_FIRST": SampleFirst, "SAMPLE_EVERY": SampleEvery, "NO_FLOW": int64(int32(flow)),
	})
}

func sameMap(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	for name, n := range want {
		if g, ok := got[name]; !ok || g != n {
			t.Errorf("%s: %s is %d (there: %t) in C, %d in Go", what, name, g, ok, n)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s is unknown to Go", what, name)
		}
	}
}

// Golden bytes of each value that user space writes: a port stored the wrong
// way round would still survive a round trip.
func TestEncodings(t *testing.T) {
	slot := Config{
		Generation: 0x01020304, Enabled: true, UDPChecksum: true,
		LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478, 5349},
	}.Encode()
	const slotHex = "6d756c70" + "01000000" + "04030201" + "03000000" +
		"0d9614e5000000000000000000000000" + "c000" + "ffff"
	if got := fmt.Sprintf("%x", slot[:slotChecksum]); got != slotHex {
		t.Errorf("config slot\n%s, want\n%s", got, slotHex)
	}
	flow := Flow{
		Key: RouteKey{
			Remote:  netip.MustParseAddrPort("198.51.100.4:40112"),
			Local:   netip.MustParseAddrPort("192.0.2.7:3478"),
			Channel: 0x4001,
		},
		Source:      netip.MustParseAddrPort("192.0.2.7:50012"),
		Destination: netip.MustParseAddrPort("[2001:db8::9]:9000"),
		Channel:     0x4fff, MTU: 1500, Ifindex: 3,
		DstMAC: [6]byte{2, 0, 0, 0, 0, 3}, SrcMAC: [6]byte{2, 0, 0, 0, 0, 1},
		ExpiryNS: 0x0102030405060708,
	}
	const flowHex = "00000000000000000000ffffc6336404" + "00000000000000000000ffffc0000207" + "9cb00d9640010000" +
		"00000000000000000000ffffc0000207" + "20010db8000000000000000000000009" + "c35c2328" + "4fff" + "dc05" + "03000000" +
		"020000000003" + "020000000001" + "0807060504030201" + "0a000000" + "00000000"
	if got := fmt.Sprintf("%x", flow.encode(10)); got != flowHex {
		t.Errorf("flow\n%s, want\n%s", got, flowHex)
	}
	raw := flow.encode(10)
	if got := decodeFlow(raw[:]); got != flow {
		t.Errorf("flow read back as %+v, want %+v", got, flow)
	}
	empty := Flow{}.encode(0)
	if empty != [flowSize]byte{} {
		t.Errorf("the zero Flow is %x", empty)
	}
	if got := decodeFlow(empty[:]); got != (Flow{}) {
		t.Errorf("zeros read as %+v", got)
	}
	const activeHex = "01000000000000000807060504030201"
	var mem [activeSize]byte
	w := &words{mem: mem[:]}
	m := &Maps{active: w}
	if err := m.WriteActive(Active{Slot: 1, LeaseUntil: 0x0102030405060708}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", mem); got != activeHex {
		t.Errorf("active %s, want %s", got, activeHex)
	}
	if err := w.store64(4, 1); err == nil {
		t.Error("an unaligned store went through")
	}
	if err := w.store64(16, 1); err == nil {
		t.Error("a store out of bounds went through")
	}
	if err := (&Maps{maxFlows: 1}).SetExpiry(0, 1); !errors.Is(err, errUnmapped) {
		t.Errorf("SetExpiry without memory: %v", err)
	}
}

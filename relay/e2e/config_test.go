// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// The config that is nothing but defaults is the one that a relay once never
// wrote, because nothing had changed. It must be in the map byte for byte.
func TestDefaultConfigByteForByte(t *testing.T) {
	needs(t, "bpftool")
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{Offload: "{interface: eth0}"})
	got := s.activeSlot()
	golden := strings.Join([]string{
		"6d756c70",                                                     // magic "muPl", little-endian
		"01000000",                                                     // ABI 1
		"01000000",                                                     // generation 1
		"03000000",                                                     // flags: enabled, udp_checksum
		"0d96", "0000", "0000", "0000", "0000", "0000", "0000", "0000", // listen ports, big-endian: 3478 and no other
		"c000",     // lowest port, big-endian: 49152
		"ffff",     // highest port: 65535
		"e3c2be8b", // CRC-32C of the bytes before it
	}, "")
	if hex.EncodeToString(got[:]) != golden {
		t.Errorf("the kernel holds\n%x, want\n%s", got, golden)
	}
	if got[32] != 49152>>8 || got[33] != 49152&0xff || got[34] != 65535>>8 || got[35] != 65535&0xff {
		t.Errorf("ports are %x, want c000ffff, big-endian", got[32:36])
	}
	want := bpf.Config{Generation: 1, Enabled: true, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478}}
	if got != want.Encode() {
		t.Errorf("the kernel holds %x, Encode gives %x", got, want.Encode())
	}
	// bpftool is another reader, which knows nothing of ours.
	if code, out := s.run("bpftool", "map", "dump", "pinned", s.pins()+"/config_slots"); code != 0 || has(out, "generation", "0") != nil {
		t.Errorf("bpftool map dump: exit %d\n%s", code, out)
	}
	s.applied(1)
	s.finish()
}

// applied waits for a generation's config.applied, which must show both sides,
// equal, and be what the kernel holds.
func (s *scene) applied(generation uint32) logs.ConfigApplied {
	s.Helper()
	var e logs.ConfigApplied
	s.wait("config.applied", 0, func(l stage.Line) bool {
		e = logs.ConfigApplied{}
		return l.Decode(&e) == nil && e.Generation == generation
	})
	if e.Kernel == nil || e.Verified == nil || !*e.Verified || len(e.Diff) != 0 || !reflect.DeepEqual(e.Intended, *e.Kernel) {
		s.Fatalf("config.applied does not show two equal sides: %s", asJSON(e))
	}
	return e
}

// Each field that the router reads, changed alone, from the start on: the map
// holds it, the log shows it on both sides, and a client is served by it.
func TestEachKernelFieldChanged(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	for name, tc := range map[string]struct {
		config stage.Config
		port   uint16
		change func(*bpf.Config)
	}{
		"udp_checksum": {stage.Config{Offload: "{interface: eth0, udp_checksum: false}"}, 3478, func(c *bpf.Config) { c.UDPChecksum = false }},
		"ports":        {stage.Config{Extra: "allocations: {ports: 20000-20099}\n"}, 3478, func(c *bpf.Config) { c.LowestPort, c.HighestPort = 20000, 20099 }},
		"listen":       {stage.Config{Extra: "listen: [\"0.0.0.0:5349\"]\n"}, 5349, func(c *bpf.Config) { c.ListenPorts = []uint16{5349} }},
		"second listen port": {stage.Config{Extra: "listen: [\"0.0.0.0:3478\", \"0.0.0.0:80\"]\n"}, 80,
			func(c *bpf.Config) { c.ListenPorts = []uint16{3478, 80} }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := play(t, testbed.Options{}, tc.config)
			want := bpf.Config{Generation: 1, Enabled: true, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478}}
			tc.change(&want)
			if got := s.activeSlot(); got != want.Encode() {
				t.Errorf("the kernel holds %x, want %x", got, want.Encode())
			}
			s.applied(1)
			s.peer()
			sums := s.watchChecksums("peer")
			s.coturn(stage.Uclient{Port: tc.port, Clients: 2, Messages: 100, Length: 171, Interval: 5 * time.Millisecond})
			seen := sums()
			mostlyKernel(t, s.finish(), 400)
			if seen.wrong != 0 {
				t.Errorf("%d datagrams reached the peer with a wrong checksum", seen.wrong)
			}
			if none := seen.none*100 >= (seen.none+seen.right)*95; none == want.UDPChecksum || seen.none+seen.right < 200 {
				t.Errorf("%d datagrams reached the peer without a checksum and %d with a right one; udp_checksum is %t", seen.none, seen.right, want.UDPChecksum)
			}
		})
	}
}

// The switch and every field that takes effect live, turned under traffic: the
// client loses nothing, and the log names the datapath that carried it.
func TestFieldsReloadedUnderTraffic(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{})
	s.peer()
	end := s.startCoturn(stage.Uclient{Clients: 2, Messages: 700, Length: 171, Interval: 10 * time.Millisecond})
	s.flowing("kernel", 0)
	base := stage.Config{Name: s.relay.Name, Dir: dirOf(s.relay.ConfigFile)}
	for i, step := range []struct {
		offload, extra string
		want           bpf.Config
		datapath       string
	}{
		{"{interface: eth0, enabled: false}", "", bpf.Config{UDPChecksum: true, LowestPort: 49152, HighestPort: 65535}, "userspace"},
		{"{interface: eth0}", "", bpf.Config{Enabled: true, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535}, "kernel"},
		{"{interface: eth0, udp_checksum: false}", "", bpf.Config{Enabled: true, LowestPort: 49152, HighestPort: 65535}, "kernel"},
		// Allocations outlive a change of the range; their ports are outside it.
		{"{interface: eth0}", "allocations: {ports: 20000-20099}\n", bpf.Config{Enabled: true, UDPChecksum: true, LowestPort: 20000, HighestPort: 20099}, "userspace"},
		{"{interface: eth0}", "", bpf.Config{Enabled: true, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535}, "kernel"},
	} {
		c := base
		c.Offload, c.Extra = step.offload, step.extra
		after := s.now()
		rewrite(t, s.relay.ConfigFile, c.YAML())
		step.want.Generation, step.want.ListenPorts = uint32(i+2), []uint16{3478}
		e := s.applied(step.want.Generation)
		if got := s.activeSlot(); got != step.want.Encode() {
			t.Errorf("step %d: the kernel holds %x, want %x", i, got, step.want.Encode())
		}
		if e.Kernel.Enabled != step.want.Enabled || e.Kernel.LowestPort != step.want.LowestPort || e.Kernel.UDPChecksum != step.want.UDPChecksum {
			t.Errorf("step %d: config.applied shows the kernel as %s", i, asJSON(e.Kernel))
		}
		applied := s.wait("config.applied", after, nil)
		s.flowing(step.datapath, applied.Seq)
	}
	end()
	lines := s.stop()
	// Routes outside the range are a finding: user space relays them.
	code, out := s.command("analyze", "mismatches", s.relay.LogDir)
	if code != 2 || has(out, "userspace-route", "20000-20099") != nil || strings.Contains(out, "drift") {
		t.Errorf("analyze mismatches: exit %d\n%s", code, out)
	}
	observed := map[uint32]bool{}
	for _, l := range named(lines, "config.observed") {
		var e logs.ConfigObserved
		l.Decode(t, &e)
		observed[e.Generation] = true
	}
	for g := uint32(1); g <= 6; g++ {
		if !observed[g] {
			t.Errorf("config %d was never seen in effect: %v", g, observed)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"plumbline/bpf"
)

func TestSlotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := bpf.Config{
			Generation:  rapid.Uint32Min(1).Draw(t, "generation"),
			Enabled:     rapid.Bool().Draw(t, "enabled"),
			UDPChecksum: rapid.Bool().Draw(t, "udp_checksum"),
			LowestPort:  rapid.Uint16().Draw(t, "lowest"),
			HighestPort: rapid.Uint16().Draw(t, "highest"),
		}
		if ports := rapid.SliceOfN(rapid.Uint16Min(1), 0, bpf.MaxListenPorts).Draw(t, "listen"); len(ports) > 0 {
			c.ListenPorts = ports
		}
		slot := c.Encode()
		got, abi, valid := bpf.DecodeSlot(slot)
		if !valid || abi != bpf.ABI || !reflect.DeepEqual(got, c) {
			t.Fatalf("read back as %+v, ABI %d, valid %t; want %+v", got, abi, valid, c)
		}
		// One flipped bit, anywhere, and it is no config that we wrote.
		bit := rapid.IntRange(0, 8*len(slot)-1).Draw(t, "bit")
		slot[bit/8] ^= 1 << (bit % 8)
		if _, _, valid := bpf.DecodeSlot(slot); valid {
			t.Fatalf("bit %d flipped, and still valid", bit)
		}
	})
}

func TestInvalidSlots(t *testing.T) {
	if got, abi, valid := bpf.DecodeSlot(bpf.Slot{}); valid || abi != 0 || !reflect.DeepEqual(got, bpf.Config{}) {
		t.Errorf("zeros read as %+v, ABI %d, valid %t", got, abi, valid)
	}
	// With generation 0 all else is right, and shown.
	c := goodConfig()
	c.Generation = 0
	if got, _, valid := bpf.DecodeSlot(c.Encode()); valid || !reflect.DeepEqual(got, c) {
		t.Errorf("generation 0 read as %+v, valid %t", got, valid)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := goodConfig().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*bpf.Config){
		"generation 0":     func(c *bpf.Config) { c.Generation = 0 },
		"ports reversed":   func(c *bpf.Config) { c.LowestPort, c.HighestPort = 2, 1 },
		"port 0":           func(c *bpf.Config) { c.LowestPort = 0 },
		"too many listens": func(c *bpf.Config) { c.ListenPorts = make([]uint16, bpf.MaxListenPorts+1) },
		"listen port 0":    func(c *bpf.Config) { c.ListenPorts = []uint16{3478, 0} },
	} {
		c := goodConfig()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

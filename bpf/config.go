// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	// ABI is the version of the maps' layout. The router takes a slot that says
	// another one for no config at all.
	ABI = 1
	// Slots is the number of config slots: one in use, one to write.
	Slots = 2
	// MaxListenPorts is how many listen ports a config can hold.
	MaxListenPorts = 8

	slotMagic       = 0x706c756d
	flagEnabled     = 1
	flagUDPChecksum = 2
)

// Config is what the router reads of the relay's config: nothing else can be
// "in effect" in the kernel.
type Config struct {
	// Generation numbers the apply that wrote it: never 0, never used twice.
	Generation uint32
	// Enabled false makes the router pass every frame up.
	Enabled bool
	// UDPChecksum false sends relayed datagrams with checksum 0 (none).
	UDPChecksum bool
	// LowestPort to HighestPort, both included, are the relayed ports.
	LowestPort, HighestPort uint16
	// ListenPorts are where clients send their ChannelData, at most
	// MaxListenPorts, none of them 0.
	ListenPorts []uint16
}

// Validate says what of c a slot cannot hold or the router would refuse.
func (c Config) Validate() error {
	switch {
	case c.Generation == 0:
		return fmt.Errorf("router config: generation 0 stands for no config; number applies from 1")
	case c.LowestPort == 0 || c.LowestPort > c.HighestPort:
		return fmt.Errorf("router config: relayed ports %d-%d are no range", c.LowestPort, c.HighestPort)
	case len(c.ListenPorts) > MaxListenPorts:
		return fmt.Errorf("router config: %d listen ports, the router has room for %d", len(c.ListenPorts), MaxListenPorts)
	}
	for _, p := range c.ListenPorts {
		if p == 0 {
			return fmt.Errorf("router config: listen port 0 stands for an unused entry")
		}
	}
	return nil
}

// Slot is one value of the map config_slots, as the kernel holds it.
type Slot [40]byte

// offsets in a Slot, see struct config_slot in maps.h
const (
	slotABI         = 4
	slotGeneration  = 8
	slotFlags       = 12
	slotListenPorts = 16
	slotLowestPort  = 32
	slotHighestPort = 34
	slotChecksum    = 36
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode lays c out for the kernel. Listen ports beyond MaxListenPorts, which
// Validate refuses, are left out: the router passes their packets up.
func (c Config) Encode() Slot {
	var s Slot
	var flags uint32
	if c.Enabled {
		flags |= flagEnabled
	}
	if c.UDPChecksum {
		flags |= flagUDPChecksum
	}
	binary.LittleEndian.PutUint32(s[:], slotMagic)
	binary.LittleEndian.PutUint32(s[slotABI:], ABI)
	binary.LittleEndian.PutUint32(s[slotGeneration:], c.Generation)
	binary.LittleEndian.PutUint32(s[slotFlags:], flags)
	binary.BigEndian.PutUint16(s[slotLowestPort:], c.LowestPort)
	binary.BigEndian.PutUint16(s[slotHighestPort:], c.HighestPort)
	for i, p := range c.ListenPorts[:min(len(c.ListenPorts), MaxListenPorts)] {
		binary.BigEndian.PutUint16(s[slotListenPorts+2*i:], p)
	}
	binary.LittleEndian.PutUint32(s[slotChecksum:], crc32.Checksum(s[:slotChecksum], castagnoli))
	return s
}

// DecodeSlot reads a slot as the kernel holds it. Valid says that it is a
// config which Encode wrote: magic, ABI, generation, flags and checksum are
// right. Where it is not, the fields show what is there all the same.
//
// The router itself checks magic, ABI and generation only.
func DecodeSlot(s Slot) (cfg Config, abi uint32, valid bool) {
	flags := binary.LittleEndian.Uint32(s[slotFlags:])
	abi = binary.LittleEndian.Uint32(s[slotABI:])
	cfg = Config{
		Generation:  binary.LittleEndian.Uint32(s[slotGeneration:]),
		Enabled:     flags&flagEnabled != 0,
		UDPChecksum: flags&flagUDPChecksum != 0,
		LowestPort:  binary.BigEndian.Uint16(s[slotLowestPort:]),
		HighestPort: binary.BigEndian.Uint16(s[slotHighestPort:]),
	}
	for i := range MaxListenPorts {
		if p := binary.BigEndian.Uint16(s[slotListenPorts+2*i:]); p != 0 {
			cfg.ListenPorts = append(cfg.ListenPorts, p)
		}
	}
	valid = binary.LittleEndian.Uint32(s[:]) == slotMagic &&
		abi == ABI &&
		cfg.Generation != 0 &&
		binary.LittleEndian.Uint32(s[slotChecksum:]) == crc32.Checksum(s[:slotChecksum], castagnoli)
	return cfg, abi, valid
}

// Active is the one value of the map config_active.
type Active struct {
	// Slot is the config slot in use. The router takes one that is not there
	// for no config.
	Slot uint32
	// LeaseUntil is CLOCK_MONOTONIC in nanoseconds: from then on the router
	// passes every frame up, because its owner has not renewed the lease.
	LeaseUntil uint64
}

// offsets in struct config_active
const (
	activeLease = 8
	activeSize  = 16
)

func decodeActive(b []byte) Active {
	return Active{
		Slot:       binary.LittleEndian.Uint32(b),
		LeaseUntil: binary.LittleEndian.Uint64(b[activeLease:]),
	}
}

// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
)

// ReadSlot asks the kernel for config slot i, 0 or 1.
func (m *Maps) ReadSlot(i uint32) (Slot, error) {
	var s Slot
	if err := m.kernel.ConfigSlots.Lookup(i, &s); err != nil {
		return Slot{}, fmt.Errorf("read config slot %d: %w", i, err)
	}
	return s, nil
}

// WriteSlot writes config slot i, 0 or 1. The write is not atomic: it must not
// be the slot in use, nor one that was in use less than a GracePeriod ago.
func (m *Maps) WriteSlot(i uint32, s Slot) error {
	if err := m.kernel.ConfigSlots.Put(i, s); err != nil {
		return fmt.Errorf("write config slot %d: %w", i, err)
	}
	return nil
}

// ReadActive asks the kernel which slot is in use, and until when.
func (m *Maps) ReadActive() (Active, error) {
	var b [activeSize]byte
	if err := m.kernel.ConfigActive.Lookup(uint32(0), &b); err != nil {
		return Active{}, fmt.Errorf("read the active config: %w", err)
	}
	return decodeActive(b[:]), nil
}

// WriteActive sets the slot in use and the lease, each with one store. The
// lease goes first: a new slot is never in use under an older lease.
func (m *Maps) WriteActive(a Active) error {
	if err := m.active.store64(activeLease, a.LeaseUntil); err != nil {
		return fmt.Errorf("write the lease: %w", err)
	}
	if err := m.active.store64(0, uint64(a.Slot)); err != nil {
		return fmt.Errorf("write the active slot: %w", err)
	}
	return nil
}

// Observation says that the router decided packets on one CPU under a config.
type Observation struct {
	CPU        int
	Generation uint32 // 0: none yet, on this CPU and slot
	Packets    uint64 // since that generation was first seen there
}

// Observed asks, for one config slot, which generation each CPU last decided
// under. Read it before the slot is written again: what it says ends then.
func (m *Maps) Observed(slot uint32) ([]Observation, error) {
	var perCPU []struct {
		Generation uint32
		Reserved   uint32
		Packets    uint64
	}
	if err := m.kernel.Observed.Lookup(slot, &perCPU); err != nil {
		return nil, fmt.Errorf("read what was observed of config slot %d: %w", slot, err)
	}
	seen := make([]Observation, len(perCPU))
	for cpu, o := range perCPU {
		seen[cpu] = Observation{CPU: cpu, Generation: o.Generation, Packets: o.Packets}
	}
	return seen, nil
}

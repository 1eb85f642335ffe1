// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"slices"

	"plumbline/bpf"
	"plumbline/logs"
)

// CheckConfig compares the config that the router reads with the intended one.
// A difference is logged as config.drifted with both sides, written over, read
// back, and logged as config.repaired. by says who looked: periodic, status or
// apply. It reports whether the kernel was right.
func (r *Reconciler) CheckConfig(by string) (same bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checkConfig(by)
}

func (r *Reconciler) checkConfig(by string) bool {
	if !r.applied {
		return true
	}
	active, slot, err := ReadInUse(r.opt.Kernel)
	if err != nil {
		r.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: "the kernel's config can't be read, so nothing can be said of it", Error: err.Error()})
		return false
	}
	diff := compareSlots(r.intended.Encode(), slot)
	if want := (bpf.Active{Slot: r.slot, LeaseUntil: r.lease}); active != want {
		diff = append(diff, compareActive(want, active)...)
	}
	if len(diff) == 0 {
		r.lastGood = r.opt.Now()
		return true
	}

	r.opt.Counters()
	r.opt.Sink.Log(logs.ConfigDrifted{
		Generation: r.intended.Generation, Intended: Describe(r.intended), Kernel: describeSlot(slot),
		Diff: diff, DetectedBy: by, LastGood: logs.Time{Time: r.lastGood},
	})
	// The repair is a whole transaction into the idle slot: packets go from the
	// drifted config to the intended one without seeing a mix of both.
	kernel, _, err := r.write(r.intended)
	if err != nil {
		if _, now, err := ReadInUse(r.opt.Kernel); err == nil {
			slot = now // what it holds after the attempt
		}
		r.opt.Sink.Log(logs.ConfigRepaired{Generation: r.intended.Generation, Kernel: describeSlot(slot), Verified: false})
		r.opt.Counters()
		r.opt.Sink.Log(logs.Diagnostic{Level: logs.Error, Text: "the drifted kernel config could not be repaired, the next look tries again", Error: err.Error()})
		return false
	}
	r.lastGood = r.opt.Now()
	r.opt.Sink.Log(logs.ConfigRepaired{Generation: r.intended.Generation, Kernel: *kernel, Verified: true})
	r.opt.Counters()
	return false
}

// Observe logs config.observed for each CPU on which the router has decided its
// first packets under the generation in force.
func (r *Reconciler) Observe() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.observe()
}

// observe takes the generation in force and the one before it, whose last
// packets may have come after the look before. Any other stamp is foreign: what
// adopted maps held, or what somebody else wrote into a slot.
func (r *Reconciler) observe() error {
	known := func(generation uint32) bool {
		return generation != 0 && (generation == r.intended.Generation || generation == r.previous)
	}
	for slot := range uint32(2) {
		stamps, err := r.opt.Kernel.Observed(slot)
		if err != nil {
			return fmt.Errorf("reading the generation stamps of slot %d: %w", slot, err)
		}
		for _, s := range stamps {
			key := observation{s.Generation, s.CPU}
			if s.Packets == 0 || r.seen[key] || !known(s.Generation) {
				continue
			}
			r.seen[key] = true
			r.opt.Sink.Log(logs.ConfigObserved{Generation: s.Generation, CPU: s.CPU, Packets: s.Packets})
		}
	}
	for key := range r.seen {
		if !known(key.generation) {
			delete(r.seen, key)
		}
	}
	return nil
}

// ReadInUse reads config_active and the slot that it names. A slot number out of
// range reads as a zero slot: that is how the router sees it.
func ReadInUse(k interface {
	ReadSlot(uint32) (bpf.Slot, error)
	ReadActive() (bpf.Active, error)
}) (bpf.Active, bpf.Slot, error) {
	active, err := k.ReadActive()
	if err != nil {
		return bpf.Active{}, bpf.Slot{}, fmt.Errorf("reading config_active: %w", err)
	}
	if active.Slot > 1 {
		return active, bpf.Slot{}, nil
	}
	slot, err := k.ReadSlot(active.Slot)
	if err != nil {
		return active, bpf.Slot{}, fmt.Errorf("reading config slot %d: %w", active.Slot, err)
	}
	return active, slot, nil
}

// Describe is a config as a log line shows it.
func Describe(c bpf.Config) logs.RouterConfig {
	return logs.RouterConfig{
		ABI: bpf.ABI, Generation: c.Generation, Enabled: c.Enabled, UDPChecksum: c.UDPChecksum,
		LowestPort: c.LowestPort, HighestPort: c.HighestPort, ListenPorts: append([]uint16{}, c.ListenPorts...),
	}
}

// DescribeSlot is a slot as a log line shows it: its fields as they are, and
// valid: false where the router would not accept it.
func DescribeSlot(s bpf.Slot) logs.RouterConfig { return describeSlot(s) }

func describeSlot(s bpf.Slot) logs.RouterConfig {
	c, abi, valid := bpf.DecodeSlot(s)
	d := Describe(c)
	d.ABI = abi
	if !valid {
		d.Valid = new(bool)
	}
	return d
}

// compareSlots lists the fields in which two slots differ. Bytes that differ
// outside the named fields (magic, reserved bits, the slot's own checksum) are
// one difference called "magic or checksum": the slot is damaged all the same.
func compareSlots(want, got bpf.Slot) []logs.Difference {
	if want == got {
		return nil
	}
	w, g := describeSlot(want), describeSlot(got)
	diff := CompareConfigs(w, g)
	if len(diff) == 0 {
		diff = append(diff, logs.Difference{Field: "magic or checksum", Intended: fmt.Sprintf("%x", want), Kernel: fmt.Sprintf("%x", got)})
	}
	return diff
}

// CompareConfigs lists the fields in which the kernel's config is not the
// intended one, in the order in which lines show them.
func CompareConfigs(intended, kernel logs.RouterConfig) []logs.Difference {
	var diff []logs.Difference
	field := func(name string, same bool, i, k any) {
		if !same {
			diff = append(diff, logs.Difference{Field: name, Intended: i, Kernel: k})
		}
	}
	field("abi", intended.ABI == kernel.ABI, intended.ABI, kernel.ABI)
	field("generation", intended.Generation == kernel.Generation, intended.Generation, kernel.Generation)
	field("enabled", intended.Enabled == kernel.Enabled, intended.Enabled, kernel.Enabled)
	field("udp_checksum", intended.UDPChecksum == kernel.UDPChecksum, intended.UDPChecksum, kernel.UDPChecksum)
	field("lowest_port", intended.LowestPort == kernel.LowestPort, intended.LowestPort, kernel.LowestPort)
	field("highest_port", intended.HighestPort == kernel.HighestPort, intended.HighestPort, kernel.HighestPort)
	field("listen_ports", slices.Equal(intended.ListenPorts, kernel.ListenPorts), intended.ListenPorts, kernel.ListenPorts)
	return diff
}

func compareActive(want, got bpf.Active) []logs.Difference {
	var diff []logs.Difference
	if want.Slot != got.Slot {
		diff = append(diff, logs.Difference{Field: "slot", Intended: want.Slot, Kernel: got.Slot})
	}
	if want.LeaseUntil != got.LeaseUntil {
		diff = append(diff, logs.Difference{Field: "lease_until", Intended: want.LeaseUntil, Kernel: got.LeaseUntil})
	}
	return diff
}

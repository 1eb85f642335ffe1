// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"strings"
	"testing"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
)

// The incident: user space skipped the write when the config equalled the one
// before, or the default, and the kernel ran on zeros.
func TestApplyAlwaysWrites(t *testing.T) {
	b := newBench(t)
	cfg := routerConfig(1)
	for n := 1; n <= 3; n++ {
		cfg.Generation = uint32(n)
		if err := b.Apply(cfg, "digest"); err != nil {
			t.Fatal(err)
		}
		if got := b.kernel.count("WriteSlot"); got != n {
			t.Fatalf("after %d equal applies the slot was written %d times", n, got)
		}
		if got := b.kernel.slots[b.kernel.active.Slot]; got != cfg.Encode() {
			t.Fatalf("the slot in use holds %x, want %x", got, cfg.Encode())
		}
		e := event[logs.ConfigApplied](b)
		if e.Verified == nil || !*e.Verified || e.Kernel == nil || e.Kernel.Generation != uint32(n) || len(e.Diff) != 0 {
			t.Fatalf("config.applied %+v, want both sides and verified", e)
		}
	}
}

func TestApplyRefusesGenerationZero(t *testing.T) {
	b := newBench(t)
	if err := b.Apply(routerConfig(0), ""); err == nil || b.kernel.count("WriteSlot") != 0 {
		t.Fatalf("generation 0: error %v, %d writes", err, b.kernel.count("WriteSlot"))
	}
}

// Every step of the transaction is made to fail once; the config before it must
// be in force afterwards, and config.rolled_back must name the step.
func TestApplyRollsBack(t *testing.T) {
	for step, inject := range map[string]func(*bench){
		"grace":              func(b *bench) { b.opt.Grace = func() error { return errInjected } },
		"observe":            func(b *bench) { b.kernel.fail["Observed"] = errInjected },
		"write_slot":         func(b *bench) { b.kernel.fail["WriteSlot"] = errInjected },
		"read_slot":          func(b *bench) { b.failAt("ReadSlot", 2) },
		"verify_slot":        func(b *bench) { b.kernel.corrupt["WriteSlot"] = true },
		"flip":               func(b *bench) { b.kernel.fail["WriteActive"] = errInjected },
		"verify_flip":        func(b *bench) { b.kernel.corrupt["WriteActive"] = true },
		"read_active_slot":   func(b *bench) { b.failAt("ReadSlot", 3) },
		"verify_active_slot": func(b *bench) { b.corruptAt(3) },
	} {
		t.Run(step, func(t *testing.T) {
			b := newBench(t).applied(1)
			before := b.kernel.active
			inject(b)
			cfg := routerConfig(2)
			cfg.LowestPort = 50000
			if err := b.Apply(cfg, "digest"); err == nil {
				t.Fatal("the apply did not fail")
			}
			b.opt.Kernel = b.kernel
			e := event[logs.ConfigRolledBack](b)
			if e.Step != step || e.Generation != 2 || e.KeptGeneration != 1 {
				t.Fatalf("config.rolled_back %+v, want step %s", e, step)
			}
			if b.kernel.active != before {
				t.Fatalf("config_active is %+v, want %+v", b.kernel.active, before)
			}
			if got := b.kernel.slots[before.Slot]; got != routerConfig(1).Encode() {
				t.Fatalf("the slot in use holds %x", got)
			}
			b.events = nil
			if !b.CheckConfig("periodic") {
				t.Fatalf("drift after a rollback: %q", b.names())
			}
		})
	}
}

// faultAt passes calls on and fails or damages one read of a slot.
type faultAt struct {
	*fakeKernel
	at, n   int
	corrupt bool
}

func (f *faultAt) ReadSlot(i uint32) (bpf.Slot, error) {
	f.n++
	s, err := f.fakeKernel.ReadSlot(i)
	if f.n != f.at {
		return s, err
	}
	if f.corrupt {
		s[20] ^= 0xff
		return s, nil
	}
	return s, errInjected
}

func (b *bench) failAt(_ string, n int) { b.opt.Kernel = &faultAt{fakeKernel: b.kernel, at: n} }
func (b *bench) corruptAt(n int)        { b.opt.Kernel = &faultAt{fakeKernel: b.kernel, at: n, corrupt: true} }

func TestFirstApplyFailingLeavesNoLease(t *testing.T) {
	b := newBench(t)
	b.kernel.corrupt["WriteActive"] = true
	if err := b.Apply(routerConfig(1), ""); err == nil {
		t.Fatal("the apply did not fail")
	}
	if b.kernel.active != (bpf.Active{}) {
		t.Fatalf("config_active is %+v, want nothing in use", b.kernel.active)
	}
}

// Blanked slots are the original incident, seen from outside.
func TestBlankedConfigIsDriftAndRepaired(t *testing.T) {
	b := newBench(t).applied(1)
	good := b.now
	if !b.CheckConfig("periodic") {
		t.Fatal("drift without a change")
	}
	b.now = b.now.Add(time.Second)
	b.kernel.slots = [2]bpf.Slot{}
	if b.CheckConfig("periodic") {
		t.Fatal("blanked slots were not noticed")
	}
	e := event[logs.ConfigDrifted](b)
	if !e.LastGood.Equal(good) || e.Kernel.Valid == nil || *e.Kernel.Valid {
		t.Fatalf("config.drifted %+v, want last_good %s and valid false", e, good)
	}
	fields := map[string]bool{}
	for _, d := range e.Diff {
		fields[d.Field] = true
	}
	for _, f := range []string{"abi", "generation", "enabled", "udp_checksum", "lowest_port", "highest_port", "listen_ports"} {
		if !fields[f] {
			t.Errorf("the difference does not name %s: %v", f, e.Diff)
		}
	}
	b.expect("datapath.counters", "config.drifted", "config.repaired", "datapath.counters")
	if got := b.kernel.slots[b.kernel.active.Slot]; got != routerConfig(1).Encode() {
		t.Fatalf("the slot in use holds %x after the repair", got)
	}
	if !b.CheckConfig("periodic") || len(b.events) != 0 {
		t.Fatalf("not quiet after the repair: %q", b.names())
	}
}

// Each byte of the active slot and of config_active is the watcher's business.
func TestEveryByteOfTheConfigIsWatched(t *testing.T) {
	for at := range len(bpf.Slot{}) {
		b := newBench(t).applied(1)
		b.kernel.slots[b.kernel.active.Slot][at] ^= 0x10
		if b.CheckConfig("periodic") {
			t.Errorf("byte %d of the slot in use changed unnoticed", at)
		}
	}
	for _, other := range []bpf.Active{{}, {Slot: 1}, {Slot: 9, LeaseUntil: 1 << 60}, {LeaseUntil: 5}} {
		b := newBench(t).applied(1)
		b.kernel.active = other
		if b.CheckConfig("periodic") {
			t.Errorf("config_active %+v went unnoticed", other)
		}
	}
}

func TestIdleSlotIsNoDrift(t *testing.T) {
	b := newBench(t).applied(1)
	b.kernel.slots[1-b.kernel.active.Slot] = bpf.Slot{1, 2, 3}
	if !b.CheckConfig("periodic") {
		t.Fatalf("the idle slot was taken for drift: %q", b.names())
	}
}

// The lease's writer must not paint over a slot number that somebody changed.
func TestLeaseRenewalLooksFirst(t *testing.T) {
	b := newBench(t).applied(1)
	b.kernel.active.Slot = 1 - b.kernel.active.Slot
	if err := b.RenewLease(); err != nil {
		t.Fatal(err)
	}
	b.expect("datapath.counters", "config.drifted", "config.repaired", "datapath.counters")
}

func TestApplyReportsDriftThatItWouldHide(t *testing.T) {
	b := newBench(t).applied(1)
	b.kernel.slots[b.kernel.active.Slot] = bpf.Slot{}
	if err := b.Apply(routerConfig(2), ""); err != nil {
		t.Fatal(err)
	}
	if e := event[logs.ConfigDrifted](b); e.DetectedBy != "apply" || e.Generation != 1 {
		t.Fatalf("config.drifted %+v", e)
	}
}

func TestOldSlotRestsForAGracePeriod(t *testing.T) {
	b := newBench(t).applied(1)
	if b.graces != 0 {
		t.Fatalf("%d grace periods before any slot was left", b.graces)
	}
	b.applied(2)
	if b.graces != 1 {
		t.Fatalf("%d grace periods, want one before the slot of generation 1's successor", b.graces)
	}
}

func TestObservedOncePerGenerationAndCPU(t *testing.T) {
	b := newBench(t).applied(1)
	b.kernel.observed[0] = []bpf.Observation{{CPU: 0, Generation: 1, Packets: 5}, {CPU: 1}}
	for range 2 {
		if err := b.Observe(); err != nil {
			t.Fatal(err)
		}
	}
	b.expect("config.observed")
	// The last packets under generation 1 on another CPU are read before its
	// slot is written again, by the apply after the next.
	if err := b.Apply(routerConfig(2), ""); err != nil {
		t.Fatal(err)
	}
	b.events = nil
	b.kernel.observed[0][1] = bpf.Observation{CPU: 1, Generation: 1, Packets: 1}
	if err := b.Apply(routerConfig(3), ""); err != nil {
		t.Fatal(err)
	}
	if e := event[logs.ConfigObserved](b); e.Generation != 1 || e.CPU != 1 {
		t.Fatalf("config.observed %+v", e)
	}
}

func TestForeignStampsAreNotReported(t *testing.T) {
	b := newBench(t).applied(5)
	b.kernel.observed[1] = []bpf.Observation{{CPU: 0, Generation: 4294967295, Packets: 9}}
	if err := b.Observe(); err != nil {
		t.Fatal(err)
	}
	b.expect()
}

func TestMessagesNameTheFields(t *testing.T) {
	b := newBench(t).applied(1)
	b.kernel.slots = [2]bpf.Slot{}
	b.CheckConfig("periodic")
	if m := event[logs.ConfigDrifted](b).Message(); !strings.Contains(m, "lowest_port 49152 → 0") {
		t.Fatalf("message %q", m)
	}
}

// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
)

// configState is the config that is intended, and what is known of the slots.
type configState struct {
	intended  bpf.Config
	digest    string
	previous  uint32 // the generation before intended
	applied   bool   // intended was proven to be in the kernel once
	slot      uint32 // the slot that the router was told to use
	lease     uint64 // the lease that was written last
	graceOwed bool   // packets may still read the idle slot
	lastGood  time.Time
	seen      map[observation]bool
}

// observation is a generation that was seen in effect on a CPU.
type observation struct {
	generation uint32
	cpu        int
}

// Apply puts a config into the kernel as one transaction: write the idle slot,
// read it back, compare, flip config_active, read that back, and read once more
// the slot that is now in use. It always writes, also what is there already.
//
// On success config.applied is logged with both sides. On an error the config
// before it is in force, config.rolled_back names the step, and the error is
// returned. A config whose generation is zero is refused: zero is what an array
// map holds when nobody wrote it.
func (r *Reconciler) Apply(cfg bpf.Config, digest string) error {
	if cfg.Generation == 0 {
		return fmt.Errorf("config generation 0 can't be told from an empty map: number generations from 1")
	}
	r.mu.Lock()
	defer r.mu.Unlock()

	// What is about to be written over is evidence: look at it first.
	r.checkConfig("apply")
	began := r.opt.Now()
	var kernel *logs.RouterConfig
	var slot uint32
	// What a slot can't hold would be left out, and what is read back would
	// still equal what was written.
	err := cfg.Validate()
	if err != nil {
		err = &stepError{"validate", err}
	} else {
		kernel, slot, err = r.write(cfg)
	}
	if err != nil {
		kept := uint32(0)
		if r.applied {
			kept = r.intended.Generation
		}
		step := "apply"
		if se, ok := err.(*stepError); ok {
			step, err = se.step, se.err
		}
		r.opt.Sink.Log(logs.ConfigRolledBack{Generation: cfg.Generation, KeptGeneration: kept, Step: step, Error: err.Error()})
		return fmt.Errorf("config %d could not be put into the kernel (step %s): %w", cfg.Generation, step, err)
	}
	if cfg.Generation != r.intended.Generation {
		r.previous = r.intended.Generation
	}
	r.intended, r.digest, r.applied = cfg, digest, true
	r.lastGood = r.opt.Now()
	verified := true
	r.opt.Sink.Log(logs.ConfigApplied{
		Generation: cfg.Generation, Digest: digest, Slot: &slot,
		Intended: Describe(cfg), Kernel: kernel, Verified: &verified, Diff: []logs.Difference{},
		DurationUS: r.opt.Now().Sub(began).Microseconds(),
	})
	r.rangeChanged()
	return nil
}

// write is the transaction itself, used by Apply and by repairs. It returns what
// was read back from the slot in use. On an error the router still uses the slot
// that it used before.
func (r *Reconciler) write(cfg bpf.Config) (*logs.RouterConfig, uint32, error) {
	k := r.opt.Kernel
	idle := uint32(0)
	if r.applied {
		idle = 1 - r.slot
	}
	if r.graceOwed {
		if err := r.opt.Grace(); err != nil {
			return nil, 0, &stepError{"grace", err}
		}
		r.graceOwed = false
	}
	// The stamps of a slot go with its next generation: read them first.
	if err := r.observe(); err != nil {
		return nil, 0, &stepError{"observe", err}
	}
	want := cfg.Encode()
	if err := k.WriteSlot(idle, want); err != nil {
		return nil, 0, &stepError{"write_slot", err}
	}
	if got, err := k.ReadSlot(idle); err != nil {
		return nil, 0, &stepError{"read_slot", err}
	} else if diff := compareSlots(want, got); len(diff) > 0 {
		return nil, 0, &stepError{"verify_slot", fmt.Errorf("slot %d reads back different: %v", idle, diff)}
	}

	before := bpf.Active{Slot: r.slot, LeaseUntil: r.lease}
	next := bpf.Active{Slot: idle, LeaseUntil: r.opt.Monotonic() + uint64(LeaseTerm)}
	if err := k.WriteActive(next); err != nil {
		return nil, 0, r.unflip(before, "flip", err)
	}
	got, err := k.ReadActive()
	if err == nil && got != next {
		err = fmt.Errorf("config_active reads back %+v, want %+v", got, next)
	}
	if err != nil {
		return nil, 0, r.unflip(before, "verify_flip", err)
	}
	inUse, err := k.ReadSlot(got.Slot)
	if err != nil {
		return nil, 0, r.unflip(before, "read_active_slot", err)
	}
	if diff := compareSlots(want, inUse); len(diff) > 0 {
		return nil, 0, r.unflip(before, "verify_active_slot", fmt.Errorf("the slot in use reads back different: %v", diff))
	}
	r.slot, r.lease, r.graceOwed = idle, next.LeaseUntil, true
	kernel := describeSlot(inUse)
	return &kernel, idle, nil
}

// unflip gives the router back the slot that it used before a failed flip. Where
// that fails too, the watcher finds the difference as drift and goes on trying.
func (r *Reconciler) unflip(before bpf.Active, step string, cause error) error {
	r.graceOwed = true // the other slot may have been read for a moment
	if !r.applied {
		before = bpf.Active{} // no lease: the router passes everything up
	}
	if err := r.opt.Kernel.WriteActive(before); err != nil {
		cause = fmt.Errorf("%w; and the slot before it could not be restored: %w", cause, err)
	}
	return &stepError{step, cause}
}

// RenewLease tells the router that its owner lives. Call it every LeaseRenewal.
func (r *Reconciler) RenewLease() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.applied {
		return nil
	}
	// Writing the slot number along repairs what CheckConfig would report, so
	// look before the write hides it.
	r.checkConfig("periodic")
	lease := r.opt.Monotonic() + uint64(LeaseTerm)
	if err := r.opt.Kernel.WriteActive(bpf.Active{Slot: r.slot, LeaseUntil: lease}); err != nil {
		return fmt.Errorf("renewing the router's lease: %w", err)
	}
	r.lease = lease
	return nil
}

// Intended is the config that was last applied, and its digest. ok is false
// before the first apply.
func (r *Reconciler) Intended() (cfg bpf.Config, digest string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.intended, r.digest, r.applied
}

// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay/account"
	"plumbline/relay/config"
	"plumbline/relay/device"
	"plumbline/relay/nexthop"
	"plumbline/relay/reconcile"
	"plumbline/relay/turn"
)

// offload is the kernel path's life: loaded, configured, proven, attached, and
// left again. Its zero state is a relay without a router, in which every method
// does nothing.
type offload struct {
	sink    logs.Sink
	account *account.Account

	mu         sync.Mutex
	intent     *inForce
	router     *bpf.Router
	reconciler *reconcile.Reconciler
	resolver   *nexthop.Resolver
	decisions  *bpf.Decisions
	grace      *grace
	attached   *bpf.Attachment
	dev        device.Info
	mode       string // native, generic: as read from the kernel
	pins       *pins
	unpinned   bool   // there can be no pins, and that was said
	reason     string // why there is no router although one is intended
	swallows   bool   // the device lost our frames in every mode: left until a restart
	// placed is what was attached last. The reconciler asks for it while it
	// holds its own lock, so it can't wait for mu.
	placed   atomic.Pointer[bpf.AttachmentInfo]
	txSeen   uint64        // the device's transmit errors at the last look
	txKnown  bool          // the device counts them
	txErrors atomic.Uint64 // since the router was attached first
	relayed  uint64        // by the router, at the last look
	drifting atomic.Bool   // the last look found drift that it could not repair
}

func newOffload(sink logs.Sink, a *account.Account) *offload {
	return &offload{sink: sink, account: a}
}

// adopt takes the instance's pins for this process and returns the highest
// generation that an earlier one left there, so that none is used twice. Without
// a bpffs the relay runs unpinned.
// It returns an error where a living process holds the pins.
func (o *offload) adopt(cfg *config.Config) (uint32, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !cfg.Offload.Enabled {
		if _, err := os.Stat(PinFolder(cfg.Relay.Name)); err != nil {
			return 0, nil // nobody was here before
		}
	}
	p, generation, err := openPins(cfg.Relay.Name)
	var taken *instanceTaken
	if errors.As(err, &taken) {
		return 0, err
	}
	if err != nil && cfg.Offload.Enabled {
		o.sayUnpinned(err)
	}
	o.pins = p
	return generation, nil
}

func (o *offload) sayUnpinned(err error) {
	o.unpinned = true
	o.sink.Log(logs.Diagnostic{Level: logs.Warn, Text: "the router's maps will not be pinned, so relay status can't read the kernel when the relay does not answer", Error: err.Error()})
}

// apply makes the kernel follow a config. It returns an error where the config
// must not come into force: the kernel refused it, or offload.required is set
// and the router can't be had.
func (o *offload) apply(next *inForce) error {
	began := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !next.Offload.Enabled && o.router == nil {
		o.intent = next
		o.logUserspace(next, time.Since(began))
		return nil
	}
	before := o.intent
	o.intent = next
	if o.router == nil {
		if err := o.load(next); err != nil {
			o.reason = err.Error()
			consequence := "userspace"
			if next.Offload.Required && before == nil {
				consequence = "exit"
			}
			o.sink.Log(logs.OffloadUnavailable{Interface: next.Offload.Interface, Intended: true, Reason: o.reason, Consequence: consequence})
			if next.Offload.Required {
				return o.refuse(before, next, err)
			}
			o.logUserspace(next, time.Since(began))
			return nil
		}
		o.reason = ""
		return nil
	}
	if o.attached == nil && next.Offload.Enabled {
		// Under the config that is there until the new one is written: what
		// can't be had is known before anything has changed.
		err := o.attachAgain()
		if err != nil && next.Offload.Required && !before.Offload.Required {
			return o.refuse(before, next, err)
		}
		if err != nil && !o.swallows { // that was said when it was found
			o.giveUp(err.Error())
		}
	}
	if err := o.reconciler.Apply(RouterConfig(next.Config, next.generation), next.digest); err != nil {
		o.intent = before
		return err
	}
	return nil
}

// refuse keeps the config before one that requires a kernel path which can't be
// had. before is nil at the start, where there is nothing to go back to.
func (o *offload) refuse(before, next *inForce, cause error) error {
	err := fmt.Errorf("offload.required is set and the kernel path can't be had on %s: %w", next.Offload.Interface, cause)
	if before != nil {
		o.intent = before
		o.sink.Log(logs.ConfigRolledBack{Generation: next.generation, KeptGeneration: before.generation, Step: "offload.required", Error: err.Error()})
	}
	return err
}

// logUserspace is config.applied where no router holds the config: there is no
// kernel side to show, and the line says so with nulls.
func (o *offload) logUserspace(c *inForce, took time.Duration) {
	o.sink.Log(logs.ConfigApplied{Generation: c.generation, Digest: c.digest, Intended: describeIntent(c), Diff: []logs.Difference{}, DurationUS: took.Microseconds()})
}

// load brings the router into the kernel in the order that proves it: load,
// self-test, write the config and read it back, attach, read back what is
// attached.
func (o *offload) load(c *inForce) (err error) {
	if o.dev, err = device.Inspect(c.Offload.Interface); err != nil {
		return err
	}
	if o.pins == nil && !o.unpinned { // offload was off at the start
		if o.pins, _, err = openPins(c.Relay.Name); err != nil {
			o.sayUnpinned(err)
		}
	}
	if o.router, err = bpf.Load(bpf.LoadOptions{}); err != nil {
		return err
	}
	router := o.router
	defer func() {
		if err != nil {
			o.account.Attach(nil)
			if o.pins != nil {
				err = errors.Join(err, o.pins.clear())
			}
			err = errors.Join(err, o.unload())
		}
	}()
	if err := router.SelfTest(); err != nil {
		return fmt.Errorf("the router's self-test: %w", err)
	}
	if o.resolver, err = nexthop.NewResolver(); err != nil {
		return err
	}
	if o.decisions, err = router.Maps().Decisions(); err != nil {
		return err
	}
	o.grace = newGrace(o.sink)
	go readDecisions(o.decisions, o.account) // until unload closes it
	o.reconciler = reconcile.New(reconcile.Options{
		Kernel: router.Maps(), Sink: o.sink, Resolver: o.resolver, Grace: o.grace.wait, Now: time.Now,
		Monotonic: bpf.MonotonicNS, MaxFlows: router.Maps().MaxFlows(), Usable: o.usable, Counters: o.account.WriteCounters,
	})
	base, err := router.Maps().Counters()
	if err != nil {
		return err
	}
	o.account.Attach(&kernelCounts{Reconciler: o.reconciler, maps: router.Maps(), base: base, txErrors: &o.txErrors})
	if err := o.reconciler.Apply(RouterConfig(c.Config, c.generation), c.digest); err != nil {
		return err
	}
	mode := c.Offload.Mode
	if mode == "auto" {
		mode = device.AutoMode(o.dev)
	}
	if o.pins != nil {
		if err := router.Pin(o.pins.dir); err != nil {
			return err
		}
	}
	return o.attach(mode)
}

// attachAgain attaches a loaded router to the interface as it is now: it may
// have been made anew.
func (o *offload) attachAgain() error {
	if o.swallows {
		return errors.New(o.reason)
	}
	dev, err := device.Inspect(o.intent.Offload.Interface)
	if err != nil {
		return err
	}
	o.dev = dev
	return o.attach(o.mode)
}

// attach is called with the lock held and the router configured.
func (o *offload) attach(mode string) error {
	a, err := o.router.Attach(o.dev.Ifindex, bpf.Mode(mode))
	if err != nil {
		return fmt.Errorf("attaching to %s in %s mode: %w", o.dev.Name, mode, err)
	}
	info, err := a.Info()
	if err != nil {
		return errors.Join(fmt.Errorf("reading back what is attached to %s: %w", o.dev.Name, err), a.Detach())
	}
	if o.pins != nil {
		if err := a.Pin(o.pins.dir); err != nil {
			return errors.Join(err, a.Detach())
		}
	}
	o.attached, o.mode = a, string(info.Mode)
	o.placed.Store(&info)
	o.txSeen, o.txKnown = transmitErrors(o.dev)
	o.reason = ""
	o.reconciler.Resume()
	o.sink.Log(logs.OffloadAttached{
		Interface: o.dev.Name, Ifindex: o.dev.Ifindex, Mode: o.mode,
		ProgramID: info.ProgramID, ProgramTag: info.ProgramTag, RouterInstructions: o.router.VerifiedInstructions(),
	})
	return nil
}

// usable says whether the router can send out of a device.
func (o *offload) usable(ifindex int) error {
	at := o.placed.Load()
	if at == nil || ifindex == at.Ifindex || at.Mode == bpf.Generic {
		return nil
	}
	return canTransmit(ifindex)
}

func (o *offload) publish(v *turn.View) {
	if r := o.loaded(); r != nil {
		r.Publish(v)
	}
}

func (o *offload) withdraw(id, reason string) {
	if r := o.loaded(); r != nil {
		r.Withdraw(id, reason)
	}
}

// installed shows an allocation's routes, and keeps them as they are until show
// has returned.
func (o *offload) installed(id string, show func([]logs.Route)) {
	if r := o.loaded(); r != nil {
		r.Installed(id, show)
		return
	}
	show([]logs.Route{})
}

// loaded is the reconciler, nil where no router was ever loaded. It keeps the
// intended routes also while the router is not attached.
func (o *offload) loaded() *reconcile.Reconciler {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reconciler
}

// detach takes the router off its device and its routes out of the kernel.
func (o *offload) detach(reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leave(reason)
}

func (o *offload) leave(reason string) {
	if o.attached == nil {
		return
	}
	if err := o.attached.Detach(); err != nil && !errors.Is(err, os.ErrNotExist) {
		o.sink.Log(logs.Diagnostic{Level: logs.Error, Text: "detaching the router from " + o.dev.Name, Error: err.Error()})
	}
	o.attached = nil
	o.reconciler.Suspend(reason)
	_ = o.grace.wait() // it always finds a way
	o.sink.Log(logs.OffloadDetached{Interface: o.dev.Name, Reason: reason})
}

func (o *offload) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leave("shutdown")
	err := o.unload()
	if o.pins != nil {
		err = errors.Join(err, o.pins.remove())
		o.pins = nil
	}
	if err != nil {
		o.sink.Log(logs.Diagnostic{Level: logs.Warn, Text: "cleaning up the kernel's side", Error: err.Error()})
	}
}

// unload closes what load opened.
func (o *offload) unload() error {
	var errs []error
	if o.decisions != nil {
		errs = append(errs, o.decisions.Close())
	}
	if o.resolver != nil {
		errs = append(errs, o.resolver.Close())
	}
	if o.grace != nil {
		errs = append(errs, o.grace.close())
	}
	if o.router != nil {
		errs = append(errs, o.router.Close())
	}
	o.router, o.reconciler, o.resolver, o.decisions, o.grace = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}

// status is the same for people, with the reason where it is not attached.
func (o *offload) status() OffloadStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := OffloadStatus{OffloadState: o.state()}
	if o.intent != nil {
		s.Interface = o.intent.Offload.Interface
	}
	if !s.Attached {
		s.Reason = o.reason
	}
	return s
}

// standingDrift says that the kernel's config differs and resists repair.
func (o *offload) standingDrift() bool { return o.drifting.Load() }

// describe shows the offload's state, for checkpoints. Nothing of it changes, and
// no event says so, before show has returned.
func (o *offload) describe(show func(logs.OffloadState)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	show(o.state())
}

// state is what is intended of the offload, and what was read of it. The lock is
// held.
func (o *offload) state() logs.OffloadState {
	s := logs.OffloadState{Intended: o.intent != nil && o.intent.Offload.Enabled}
	if o.attached == nil {
		return s
	}
	info, err := o.attached.Info()
	if err != nil || info.Ifindex == 0 { // the watcher will see it, too
		return s
	}
	s.Attached = true
	mode, tag := string(info.Mode), info.ProgramTag
	s.Mode, s.ProgramTag = &mode, &tag
	return s
}

func describeIntent(c *inForce) logs.RouterConfig {
	return reconcile.Describe(RouterConfig(c.Config, c.generation))
}

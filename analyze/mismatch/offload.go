// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"
	"time"

	"plumbline/analyze"
	"plumbline/logs"
)

// offload is whether the kernel path was wanted and there.
type offload struct {
	// gone says that the router is known not to be attached. What then goes
	// through user space has this for its reason, and is not told again.
	gone     bool
	wanted   bool
	missing  *Finding // open
	detached *Finding // open, unless the relay attaches again at once
}

// lose notes that the router is gone for a reason that is told by itself.
func (r *run) lose() {
	r.offload.gone = true
	if r.apply != nil {
		r.apply.excused = true
	}
}

// stopping is told that the relay ends. What was detached just before belongs
// to that, where the log does not show how the end began.
func (r *run) stopping(l *analyze.Line) {
	r.stopped = true
	for _, f := range []**Finding{&r.offload.detached, &r.offload.missing} {
		if *f != nil && (*f).passing && l.When().Sub((*f).From.Time) <= reattach {
			*f = nil
		}
	}
}

// reattach is how long a change of mode may leave the router detached.
const reattach = 10 * time.Second

// intend follows what the config asks for.
func (o *offload) intend(r *run, l *analyze.Line, enabled bool) {
	o.wanted = enabled
	if enabled {
		return
	}
	o.detached = nil // what was detached was not wanted any more
	if o.missing != nil {
		o.missing.To = when(l)
		o.missing.cite(l, "no longer intended")
		r.report(o.missing, o.missing.Summary)
		o.missing = nil
	}
}

func (r *run) checkpoint(l *analyze.Line, e logs.CheckpointStarted) {
	if r.intended == nil && e.Intended.Generation != 0 {
		r.intended, r.intendedAt = &e.Intended, r.at(l, "intended, by checkpoint")
	}
	if r.apply != nil || r.offload.missing != nil || r.offload.gone {
		return // known from the events themselves
	}
	r.offload.wanted = e.Offload.Intended
	if e.Offload.Intended && !e.Offload.Attached {
		r.lose()
		f := r.finding(OffloadUnavailable, when(l), "offload is intended, but the router is not attached")
		f.Generation = e.Generation
		f.passing = true
		f.cite(l, "checkpoint")
		r.offload.missing = f
	}
}

func (r *run) attached(l *analyze.Line, e logs.OffloadAttached) {
	o := &r.offload
	o.gone = false
	if f := o.missing; f != nil {
		f.To = when(l)
		f.cite(l, "attached")
		r.report(f, f.Summary)
		o.missing = nil
	}
	if f := o.detached; f != nil {
		o.detached = nil
		if l.When().Sub(f.From.Time) > reattach {
			f.To = when(l)
			f.cite(l, "attached")
			r.report(f, f.Summary)
		}
	}
}

func (r *run) detached(l *analyze.Line, e logs.OffloadDetached) {
	o := &r.offload
	if r.stopped || o.gone {
		o.gone = true
		return
	}
	r.lose()
	if o.wanted {
		o.detached = r.finding(OffloadUnavailable, when(l), fmt.Sprintf("the router left %s (%s) while offload was intended", e.Interface, e.Reason))
		o.detached.passing = true
		o.detached.cite(l, "detached")
	}
}

func (r *run) unavailable(l *analyze.Line, e logs.OffloadUnavailable) {
	o := &r.offload
	r.lose()
	if !e.Intended {
		return
	}
	if o.missing != nil {
		o.missing.cite(l, "unavailable again")
		return
	}
	then := "everything went through user space"
	if e.Consequence == "exit" {
		then = "the relay ended"
	}
	f := r.finding(OffloadUnavailable, when(l), fmt.Sprintf("offload was intended on %s, but not to be had (%s): %s", e.Interface, e.Reason, then))
	if r.intended != nil {
		f.Generation = r.intended.Generation
		f.add(r.intendedAt)
	}
	f.cite(l, "unavailable")
	o.missing = f
}

func (r *run) transmitFailing(l *analyze.Line, e logs.OffloadTransmitFailing) {
	f := r.finding(TransmitFailing, when(l), fmt.Sprintf("%s swallowed frames that the router had sent in %s mode; the relay went on with %s", e.Interface, e.Mode, e.Consequence))
	f.To = when(l)
	f.Effect = &Effect{Lost: e.TxErrors}
	f.Effect.Text = f.Effect.words()
	f.cite(l, "transmit errors")
	r.report(f, e.Interface+e.Mode)
	if e.Consequence == "userspace" {
		r.lose()
	}
}

func (r *run) endOffload() {
	for _, f := range []*Finding{r.offload.missing, r.offload.detached} {
		if f != nil {
			f.Standing = true
			r.report(f, f.Summary)
		}
	}
}

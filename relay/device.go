// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay/device"
)

// failingShare is the share of a second's XDP_TX frames, in percent, from which
// on a device that swallows them is left. A busy device that loses a frame to a
// full ring is not: that shows in datapath.counters.
const failingShare = 1

// transmitErrors are the device's; known is false where it does not count them.
func transmitErrors(dev device.Info) (n uint64, known bool) {
	n, err := device.TransmitErrors(dev.Name)
	return n, err == nil
}

// canTransmit says whether a device takes frames that are redirected to it. Where
// the kernel does not tell, user space relays: a frame that vanishes would not
// be counted.
func canTransmit(ifindex int) error {
	can, err := device.XDPFeatures(ifindex)
	if err != nil {
		return fmt.Errorf("whether device %d can transmit redirected frames is not known: %w", ifindex, err)
	}
	if !can.TransmitsRedirected() {
		return fmt.Errorf("device %d can't transmit redirected frames", ifindex)
	}
	return nil
}

// checkDevice looks at what is attached and whether its frames leave the device.
func (o *offload) checkDevice(ctx context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.router == nil || ctx.Err() != nil {
		return
	}
	if o.attached == nil {
		o.tryAgain()
		return
	}
	on, err := o.attached.Attached()
	if err != nil {
		o.sink.Log(logs.Diagnostic{Level: logs.Error, Text: "what is attached to " + o.dev.Name + " can't be read", Error: err.Error()})
		return
	}
	if !on {
		o.reattach()
		return
	}
	o.checkTransmit()
}

// reattach follows a detachment that was not ours: the interface went away, or
// somebody took the router off. Where it can't be had back at once, user space
// relays.
func (o *offload) reattach() {
	o.sink.Log(logs.OffloadDetached{Interface: o.dev.Name, Reason: "from outside"})
	if err := o.attached.Detach(); err != nil { // closes what is left of it
		o.sink.Log(logs.Diagnostic{Level: logs.Warn, Text: "closing the router's link that was detached from outside", Error: err.Error()})
	}
	o.attached = nil
	if err := o.attachAgain(); err != nil {
		o.giveUp(err.Error())
	}
}

// tryAgain looks whether what was given up can be had by now: an interface is
// often deleted to be made again. It logs nothing but success, as its failure is
// known.
func (o *offload) tryAgain() {
	if !o.intent.Offload.Enabled || o.swallows {
		return
	}
	if err := o.attachAgain(); err != nil {
		o.reason = err.Error()
	}
}

// giveUp leaves everything to user space until the router can be attached again.
func (o *offload) giveUp(reason string) {
	o.reason = reason
	o.reconciler.Suspend("offload_unavailable")
	o.sink.Log(logs.OffloadUnavailable{Interface: o.dev.Name, Intended: true, Reason: reason, Consequence: "userspace"})
}

// checkTransmit compares the device's errors with what the router sent since the
// last look. An XDP_TX verdict is not yet a sent packet.
func (o *offload) checkTransmit() {
	errs, known := transmitErrors(o.dev)
	counters, err := o.router.Maps().Counters()
	if err != nil || !known || !o.txKnown {
		o.txSeen, o.txKnown = errs, known
		return
	}
	before, sent := o.txSeen, counters.Relayed()-o.relayed
	o.txSeen, o.relayed = errs, counters.Relayed()
	if errs <= before { // less: the device was made anew
		return
	}
	rise := errs - before
	o.txErrors.Add(rise)
	if rise*100 < sent*failingShare {
		return
	}
	consequence := "userspace"
	if o.mode == string(bpf.Native) {
		consequence = string(bpf.Generic)
	}
	o.sink.Log(logs.OffloadTransmitFailing{Interface: o.dev.Name, Mode: o.mode, TxErrors: o.txErrors.Load(), Consequence: consequence})
	if consequence == "userspace" {
		o.reason, o.swallows = "the device swallows the frames that the router sends", true
		o.leave("transmit_failing")
		return
	}
	if err := o.attached.Detach(); err != nil {
		o.sink.Log(logs.Diagnostic{Level: logs.Error, Text: "detaching the router from " + o.dev.Name, Error: err.Error()})
	}
	o.sink.Log(logs.OffloadDetached{Interface: o.dev.Name, Reason: "transmit_failing"})
	o.attached, o.mode = nil, string(bpf.Generic) // also for later tries
	if err := o.attach(o.mode); err != nil {
		o.giveUp(err.Error())
	}
}

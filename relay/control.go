// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"plumbline/logs"
	"plumbline/relay/turn"
)

// inboxSize is how many control messages may wait for the core. Beyond it they
// are dropped and counted: STUN retransmits.
const inboxSize = 1024

// message is one control datagram on its way to the core.
type message struct {
	from    turn.FiveTuple
	payload []byte
	release func()
}

// receive is called by the datapath's readers. It never blocks: false means that
// the inbox is full.
func (r *Relay) receive(from turn.FiveTuple, payload []byte, release func()) bool {
	select {
	case r.inbox <- message{from, payload, release}:
		return true
	default:
		return false
	}
}

// do runs f in the goroutine that owns the core, and waits for it. It returns
// false when the core has ended.
func (r *Relay) do(f func()) bool {
	done := make(chan struct{})
	select {
	case r.commands <- func() { f(); close(done) }:
	case <-r.coreEnded:
		return false
	}
	select {
	case <-done:
		return true
	case <-r.coreEnded:
		return false
	}
}

// serveCore owns the core until ctx ends: one datagram, command or expiry after
// the other, and the effects of each before the next.
func (r *Relay) serveCore(ctx context.Context) {
	defer close(r.coreEnded)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		r.checkpointStep()
		if at, ok := r.core.Deadline(); ok {
			timer.Reset(max(time.Until(at), 0))
		} else {
			timer.Reset(time.Hour)
		}
		select {
		case reason := <-r.checkpoints:
			r.beginCheckpoint(reason)
		case <-r.checkpointDue():
		case m := <-r.inbox:
			effects := r.core.Handle(time.Now(), m.from, m.payload)
			r.execute(effects)
			m.release()
		case f := <-r.commands:
			f()
		case <-timer.C:
			r.execute(r.core.Tick(time.Now()))
		case <-ctx.Done():
			r.execute(r.core.Shutdown(time.Now()))
			return
		}
	}
}

// execute carries out effects in their order: what is published is in force in
// both datapaths before the response that announces it leaves.
func (r *Relay) execute(effects []turn.Effect) {
	// What is reported comes first: the line of a route then follows the line of
	// the channel that it serves.
	for _, effect := range effects {
		if e, ok := effect.(turn.Report); ok {
			r.log.Log(e.Event)
		}
	}
	var binds []netip.AddrPort
	for _, effect := range effects {
		switch e := effect.(type) {
		case turn.Send:
			if err := r.plane.Send(e.To, e.Payload); err != nil {
				r.log.Log(logs.Diagnostic{Level: logs.Debug, Text: fmt.Sprintf("a response to %s could not be sent", e.To.Client), Error: err.Error()})
			}
		case turn.Bind:
			binds = append(binds, e.Relayed)
		case turn.Release:
			r.plane.Release(e.Relayed)
		case turn.Publish:
			r.plane.Publish(e.View)
			r.offload.publish(e.View)
		case turn.Withdraw:
			r.offload.withdraw(e.ID, e.Event.Reason)
			r.plane.Withdraw(e.ID)
			r.account.Withdraw(e.Event)
		}
	}
	// The core may reuse the effects' memory at its next call, so the answers
	// to Bind come last.
	for _, relayed := range binds {
		r.execute(r.core.Bound(time.Now(), relayed, r.plane.Bind(relayed)))
	}
}

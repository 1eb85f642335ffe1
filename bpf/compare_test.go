// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"testing"

	"plumbline/bpf"
	"plumbline/bpf/model"
)

// enum xdp_action
var actions = map[bpf.Verdict]uint32{bpf.Drop: 1, bpf.Pass: 2, bpf.RelayTX: 3, bpf.RelayRedirect: 4}

// pair is the router in the kernel and its model, with the same in their maps.
type pair struct {
	router *bpf.Router
	maps   *bpf.Maps
	model  model.Router
}

func newPair(t testing.TB, maxFlows uint32) *pair {
	router := load(t, maxFlows)
	return &pair{router: router, maps: router.Maps()}
}

// set makes both hold what m says.
func (p *pair) set(t testing.TB, m model.Router) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	old, err := p.maps.Routes()
	must(err)
	for _, route := range old {
		must(p.maps.DeleteRoute(route.Key))
	}
	for i, slot := range m.Slots {
		must(p.maps.WriteSlot(uint32(i), slot))
	}
	must(p.maps.WriteActive(m.Active))
	if len(m.Flows) != int(p.maps.MaxFlows()) {
		m.Flows = append(m.Flows, make([]bpf.Flow, int(p.maps.MaxFlows())-len(m.Flows))...)
	}
	for number, flow := range m.Flows {
		must(p.maps.PutFlow(uint32(number), flow))
	}
	for key, number := range m.Routes {
		must(p.maps.PutRoute(key, number))
	}
	p.model = m
}

// run puts one frame through both and says where they differ: in verdict,
// bytes, counters of the router, or counters of the flow. The model's result
// comes with it.
func (p *pair) run(frame []byte, ctx *bpf.XDPContext) (model.Result, error) {
	linear := min(len(frame), model.LargestFrame)
	if ctx != nil && ctx.DataEnd != 0 {
		linear = int(ctx.DataEnd)
	}
	want := p.model.Decide(model.Frame{Bytes: frame, Linear: linear, Ifindex: 1}, bpf.MonotonicNS())
	before, err := p.maps.Counters()
	if err != nil {
		return want, err
	}
	packets, payload, err := p.traffic(want.Flow)
	if err != nil {
		return want, err
	}
	action, out, err := p.router.Run(frame, 1, ctx)
	if err != nil {
		return want, fmt.Errorf("run %d bytes: %w", len(frame), err)
	}
	after, err := p.maps.Counters()
	if err != nil {
		return want, err
	}
	packetsAfter, payloadAfter, err := p.traffic(want.Flow)
	if err != nil {
		return want, err
	}
	since := after.Sub(before)
	var relayed uint64
	if want.Verdict == bpf.RelayTX || want.Verdict == bpf.RelayRedirect {
		relayed = 1
	}
	switch {
	case since.Received != 1 || since.Decided() != 1 || since.Of(want.Outcome) != 1:
		return want, fmt.Errorf("counted %s, the model says %s\nframe:\n%s", outcomeOf(since), want.Outcome, hex.Dump(frame))
	case action != actions[want.Verdict]:
		return want, fmt.Errorf("XDP action %d, the model says %s", action, want.Outcome)
	case !bytes.Equal(out, want.Out):
		return want, fmt.Errorf("%s: frame\n%scame out as\n%sthe model says\n%s", want.Outcome, hex.Dump(frame), hex.Dump(out), hex.Dump(want.Out))
	case packetsAfter-packets != relayed || payloadAfter-payload != uint64(want.Payload):
		return want, fmt.Errorf("%s: flow %d counted %d packets, %d bytes; want %d and %d", want.Outcome, want.Flow,
			packetsAfter-packets, payloadAfter-payload, relayed, want.Payload)
	}
	return want, nil
}

func (p *pair) traffic(flow uint32) (packets, payload uint64, err error) {
	if flow == bpf.NoFlow {
		return 0, 0, nil
	}
	return p.maps.FlowTraffic(flow)
}

func outcomeOf(c bpf.Counters) string {
	var names []string
	for o, n := range c.All() {
		if n != 0 {
			names = append(names, fmt.Sprintf("%s × %d", o, n))
		}
	}
	return fmt.Sprintf("%v of %d received", names, c.Received)
}

// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"time"

	"github.com/cilium/ebpf"
)

// What the tests of package bpf_test need to see.

// XDPContext is struct xdp_md of linux/bpf.h.
type XDPContext struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

// Run puts a frame through the attachable program itself.
func (r *Router) Run(frame []byte, repeat uint32, ctx *XDPContext) (uint32, []byte, error) {
	run := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256), Repeat: repeat}
	if ctx != nil {
		run.Context = ctx
	}
	action, err := r.program.Run(&run)
	return action, run.DataOut, err
}

// Kernel names the maps with what the kernel says of them.
func (m *Maps) Kernel() map[string]*ebpf.Map {
	all := make(map[string]*ebpf.Map)
	for _, n := range m.kernel.all() {
		all[n.name] = *n.at
	}
	return all
}

// Time runs a frame many times in the kernel and gives the time of one round.
func (r *Router) Time(frame []byte, repeat int) (time.Duration, error) {
	_, d, err := r.program.Benchmark(frame, repeat, nil)
	return d, err
}

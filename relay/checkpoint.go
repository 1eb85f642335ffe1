// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"cmp"
	"slices"
	"time"

	"plumbline/logs"
	"plumbline/relay/turn"
)

// checkpointing is a checkpoint on its way into the log: the relay's whole
// state, so that the log can be replayed from there on. It is written a few
// allocations at a time between other work, and pauses while the log's queue is
// more than half full. Each allocation is exact at its own line.
type checkpointing struct {
	running bool
	left    []string // ids of allocations still to be written
	sum     logs.CheckpointFinished
}

// checkpointBatch is how many allocations are written before other work gets its
// turn.
const checkpointBatch = 32

// checkpointPause is how long a checkpoint waits for the log's queue to empty.
const checkpointPause = 20 * time.Millisecond

// wantCheckpoint is called by the log writer. It does not wait for the core.
func (r *Relay) wantCheckpoint(reason string) {
	select {
	case r.checkpoints <- reason:
	case <-r.coreEnded:
	}
}

func (r *Relay) beginCheckpoint(reason string) {
	r.checkpoint = checkpointing{running: true}
	for v := range r.core.Views() {
		r.checkpoint.left = append(r.checkpoint.left, v.ID)
	}
	// A reload and the watcher run beside the core: until the line is written,
	// what it says must not end.
	r.changing.Lock()
	defer r.changing.Unlock()
	c := r.current.Load()
	r.offload.describe(func(offload logs.OffloadState) {
		r.log.Log(logs.CheckpointStarted{
			Reason: reason, Generation: c.generation, Digest: c.digest,
			Intended: describeIntent(c), Offload: offload, Allocations: len(r.checkpoint.left),
		})
	})
}

// checkpointDue is ready when the next step of a running checkpoint may be
// taken, and never without one.
func (r *Relay) checkpointDue() <-chan time.Time {
	switch {
	case !r.checkpoint.running:
		return nil
	case r.log.Busy():
		return time.After(checkpointPause)
	}
	due := make(chan time.Time)
	close(due)
	return due
}

func (r *Relay) checkpointStep() {
	if !r.checkpoint.running || r.log.Busy() {
		return
	}
	batch := r.checkpoint.left[:min(len(r.checkpoint.left), checkpointBatch)]
	r.checkpoint.left = r.checkpoint.left[len(batch):]
	for _, id := range batch {
		if v, ok := r.core.View(id); ok { // or it ended meanwhile, and its end was logged
			r.checkpointAllocation(v)
		}
	}
	if len(r.checkpoint.left) == 0 {
		r.checkpoint.running = false
		r.log.Log(r.checkpoint.sum)
	}
}

func (r *Relay) checkpointAllocation(v *turn.View) {
	line := logs.CheckpointAllocation{
		Allocation: v.ID, Client: logs.Addr{AddrPort: v.Tuple.Client}, Transport: "udp", User: v.User,
		Relayed: []logs.Addr{{AddrPort: v.Public}}, Expires: logs.Time{Time: v.Expires},
		Permissions: []logs.CheckpointPermission{}, Channels: []logs.CheckpointChannel{},
	}
	for peer, expires := range v.Permissions {
		line.Permissions = append(line.Permissions, logs.CheckpointPermission{Peer: peer.String(), Expires: logs.Time{Time: expires}})
	}
	slices.SortFunc(line.Permissions, func(a, b logs.CheckpointPermission) int { return cmp.Compare(a.Peer, b.Peer) })
	for _, c := range v.Channels {
		line.Channels = append(line.Channels, logs.CheckpointChannel{Channel: logs.Channel(c.Number), Peer: logs.Addr{AddrPort: c.Peer}, Expires: logs.Time{Time: c.Expires}})
	}
	// The watcher changes routes beside the core, so the line is written while
	// it can't.
	r.offload.installed(v.ID, func(routes []logs.Route) {
		line.Routes = routes
		r.log.Log(line)
	})
	r.checkpoint.sum.Allocations++
	r.checkpoint.sum.Permissions += len(line.Permissions)
	r.checkpoint.sum.Channels += len(line.Channels)
	r.checkpoint.sum.Routes += len(line.Routes)
}

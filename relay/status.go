// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"os"
	"time"

	"plumbline/logs"
)

// Status is what a running relay says of itself over its socket. It holds
// intent, and of the kernel only what was read back; `relay status` reads the
// kernel's side again by itself.
type Status struct {
	Relay      string            `json:"relay"`
	Run        string            `json:"run"`
	Version    string            `json:"version"`
	PID        int               `json:"pid"`
	Started    logs.Time         `json:"started"`
	ConfigFile *string           `json:"config_file"`
	Generation uint32            `json:"generation"`
	Digest     string            `json:"digest"`
	Intended   logs.RouterConfig `json:"intended"`
	Offload    OffloadStatus     `json:"offload"`
	// Datapath is where data is relayed now: kernel (with user space for what
	// the router passes up) or userspace.
	Datapath    string `json:"datapath"`
	Allocations int    `json:"allocations"`
	Routes      Routes `json:"routes"`
}

// OffloadStatus is the kernel path as the relay knows it.
type OffloadStatus struct {
	logs.OffloadState
	Interface string `json:"interface"`
	// Reason is why the router is not attached although it is intended.
	Reason string `json:"reason,omitempty"`
}

// Routes counts directions: a channel has two.
type Routes struct {
	Intended int `json:"intended"` // that the relay put into the kernel
	Waiting  int `json:"waiting"`  // channels that are relayed in user space
}

func (r *Relay) status() Status {
	c := r.current.Load()
	s := Status{
		Relay: c.Relay.Name, Run: r.run, Version: Version, PID: os.Getpid(), Started: logs.Time{Time: r.began},
		ConfigFile: pathOrNil(c.path), Generation: c.generation, Digest: c.digest, Intended: describeIntent(c),
		Offload: r.offload.status(), Datapath: "userspace",
	}
	if s.Offload.Attached && c.Offload.Enabled && !r.offload.standingDrift() {
		s.Datapath = "kernel"
	}
	if k := r.offload.loaded(); k != nil {
		s.Routes.Intended, s.Routes.Waiting = k.Routes()
	}
	r.do(func() { s.Allocations = r.core.Len() })
	return s
}

// answerWithin is how soon the core must answer to count as alive.
const answerWithin = 2 * time.Second

// live says whether the core still answers.
func (r *Relay) live() []string {
	answered := make(chan struct{})
	go func() {
		if r.do(func() {}) {
			close(answered)
		}
	}()
	select {
	case <-answered:
		return nil
	case <-time.After(answerWithin):
		return []string{"the core does not answer"}
	}
}

// ready says whether the relay serves as its config asks. Drift that was
// repaired and a kernel path that is not required don't make it unready.
func (r *Relay) ready() []string {
	why := r.live()
	c := r.current.Load()
	state := r.offload.status()
	if c.Offload.Enabled && c.Offload.Required && !state.Attached {
		why = append(why, "offload.required is set and the router is not attached: "+state.Reason)
	}
	if r.offload.standingDrift() {
		why = append(why, "the kernel's config differs from the intended one and could not be repaired")
	}
	return why
}

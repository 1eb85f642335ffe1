// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"plumbline/bpf"
	"plumbline/logs"
	"plumbline/relay"
	"plumbline/relay/admin"
	"plumbline/relay/config"
	"plumbline/relay/reconcile"
)

// socketPatience is how long a relay may take to answer before it counts as not
// answering; the kernel's side is shown all the same.
const socketPatience = 500 * time.Millisecond

type statusCommand struct {
	JSON   bool   `help:"Print JSON."`
	Config string `help:"Config file of the relay to ask. Without it: the relay that runs on its embedded default." placeholder:"FILE" type:"path"`
}

// Run shows both sides. Exit 0 when they are the same or no offload is intended,
// 2 when they differ, 1 on an error.
func (c *statusCommand) Run(s *surroundings) error {
	cfg, refused := c.config()
	if refused != nil {
		// A relay goes on while its file is bad, and that is when one asks.
		if cfg = config.Whereabouts(c.Config); cfg == nil {
			return refused
		}
	}
	r, err := gather(cfg)
	switch {
	case refused != nil && (err != nil || r.Source == "file"):
		return refused
	case refused != nil:
		fmt.Fprintln(s.err, "relay: the config file is refused, what follows is what the relay keeps:", refused)
	case err != nil:
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(s.out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(r); err != nil {
			return err
		}
	} else if err := r.write(s.out); err != nil {
		return err
	}
	if r.Verdict == "differs" {
		return exitCode(2)
	}
	return nil
}

func (c *statusCommand) config() (*config.Config, error) {
	if c.Config == "" {
		dir, err := config.StateDir()
		if err != nil {
			return nil, err
		}
		return config.Default(dir, config.User{}), nil
	}
	cfg, problems := config.Load(c.Config)
	if cfg == nil {
		return nil, fmt.Errorf("%w (relay check %s lists every problem)", problems[0], c.Config)
	}
	return cfg, nil
}

// report is both sides. Nothing in Kernel was taken from the relay: it was read
// from the pins.
type report struct {
	Relay   string `json:"relay"`
	Verdict string `json:"verdict"` // same, differs, none (no offload is intended)
	// Source is where the intended side is from: socket, log or file.
	Source      string            `json:"source"`
	Run         string            `json:"run,omitempty"`
	PID         int               `json:"pid,omitempty"`
	Generation  uint32            `json:"generation"` // 0: not known
	Digest      string            `json:"digest"`
	Datapath    string            `json:"datapath"` // kernel, userspace
	Offload     offloadReport     `json:"offload"`
	Intended    logs.RouterConfig `json:"intended"`
	Kernel      *kernelReport     `json:"kernel"` // null: none
	Diff        []logs.Difference `json:"diff"`
	Allocations *int              `json:"allocations"` // null: the relay does not answer
	Routes      routesReport      `json:"routes"`
}

type offloadReport struct {
	Intended  bool   `json:"intended"`
	Interface string `json:"interface,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// kernelReport is what the pins hold.
type kernelReport struct {
	logs.RouterConfig
	Slot       uint32 `json:"slot"`
	LeaseMS    int64  `json:"lease_ms"` // left of the lease; 0 and less: it has ended
	Attached   bool   `json:"attached"`
	Mode       string `json:"mode,omitempty"`
	Ifindex    int    `json:"ifindex,omitempty"`
	ProgramID  uint32 `json:"program_id,omitempty"`
	ProgramTag string `json:"program_tag,omitempty"`
	Received   uint64 `json:"received"`
	Relayed    uint64 `json:"relayed"`
	Passed     uint64 `json:"passed"`
	Dropped    uint64 `json:"dropped"`
}

type routesReport struct {
	Intended *int `json:"intended"` // null: the relay does not answer
	Waiting  *int `json:"waiting"`
	Kernel   *int `json:"kernel"` // null: none
}

// gather reads both sides. A relay's routes change while it runs, so a
// difference in their number alone is looked at again before it is believed.
func gather(cfg *config.Config) (*report, error) {
	const looks = 5
	for n := 1; ; n++ {
		r, routesAlone, err := look(cfg)
		if err != nil || !routesAlone || n == looks {
			return r, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func look(cfg *config.Config) (r *report, routesAlone bool, err error) {
	r = &report{Relay: cfg.Relay.Name, Datapath: "userspace", Diff: []logs.Difference{}}
	asked := r.ask(cfg)
	if asked != nil {
		r.fromLogOrFile(cfg)
	}
	kernel, err := readKernel(cfg.Relay.Name, &r.Routes)
	switch {
	case asked != nil && errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("no relay named %q answers, and none has left pins: %w", cfg.Relay.Name, asked)
	case asked != nil && err != nil:
		return nil, false, fmt.Errorf("no relay named %q answers (%w), and the kernel's side can't be read: %w", cfg.Relay.Name, asked, err)
	case errors.Is(err, fs.ErrNotExist):
	case err != nil && r.Offload.Intended:
		return nil, false, fmt.Errorf("the kernel's side can't be read: %w", err)
	}
	r.Kernel = kernel
	configDiffers := r.compare()
	r.Verdict = "same"
	routesDiffer := r.Routes.Intended != nil && r.Routes.Kernel != nil && *r.Routes.Intended != *r.Routes.Kernel
	switch {
	case configDiffers || routesDiffer:
		r.Verdict = "differs"
	case !r.Offload.Intended:
		r.Verdict = "none"
	}
	return r, routesDiffer && !configDiffers, nil
}

// ask takes the intended side from the relay itself.
func (r *report) ask(cfg *config.Config) error {
	if cfg.Admin.Socket == "" {
		return errors.New("admin.socket is empty, so the relay can't be asked")
	}
	ctx, cancel := context.WithTimeout(context.Background(), socketPatience)
	defer cancel()
	var s relay.Status
	if err := admin.Ask(ctx, cfg.Admin.Socket, &s); err != nil {
		return err
	}
	r.Source, r.Run, r.PID = "socket", s.Run, s.PID
	r.Generation, r.Digest, r.Intended, r.Datapath = s.Generation, s.Digest, s.Intended, s.Datapath
	r.Offload = offloadReport{s.Offload.Intended, s.Offload.Interface, s.Offload.Reason}
	r.Allocations = &s.Allocations
	r.Routes.Intended, r.Routes.Waiting = &s.Routes.Intended, &s.Routes.Waiting
	return nil
}

// fromLogOrFile takes it from the newest config.applied or checkpoint of this
// instance, else from the config file, which knows no generation.
func (r *report) fromLogOrFile(cfg *config.Config) {
	r.Offload = offloadReport{Intended: cfg.Offload.Enabled, Interface: cfg.Offload.Interface}
	if a, ok := newestApplied(cfg.Logs.Dir, cfg.Relay.Name); ok {
		r.Source, r.Generation, r.Digest, r.Intended = "log", a.Generation, a.Digest, a.Intended
		r.Offload.Intended = a.Intended.Enabled
		return
	}
	r.Source, r.Digest = "file", cfg.Digest()
	r.Intended = reconcile.Describe(relay.RouterConfig(cfg, 0))
}

func readKernel(instance string, routes *routesReport) (*kernelReport, error) {
	dir := relay.PinFolder(instance)
	maps, err := bpf.OpenPinned(dir)
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	active, slot, err := reconcile.ReadInUse(maps)
	if err != nil {
		return nil, err
	}
	counters, err := maps.Counters()
	if err != nil {
		return nil, err
	}
	held, err := maps.Routes()
	if err != nil {
		return nil, err
	}
	n := len(held)
	routes.Kernel = &n
	k := &kernelReport{
		RouterConfig: reconcile.DescribeSlot(slot), Slot: active.Slot,
		LeaseMS:  (int64(active.LeaseUntil) - int64(bpf.MonotonicNS())) / int64(time.Millisecond),
		Received: counters.Received, Relayed: counters.Relayed(), Passed: counters.Passed(), Dropped: counters.Dropped(),
	}
	info, err := bpf.PinnedLink(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the maps are pinned, and nothing is attached
	case err != nil:
		return nil, err
	default:
		k.Attached, k.Mode, k.Ifindex = info.Ifindex != 0, string(info.Mode), info.Ifindex
		k.ProgramID, k.ProgramTag = info.ProgramID, info.ProgramTag
	}
	return k, nil
}

// compare fills Diff and says whether the sides differ in more than the number
// of routes.
func (r *report) compare() bool {
	if r.Kernel == nil {
		if r.Offload.Intended {
			r.Diff = append(r.Diff, logs.Difference{Field: "attached", Intended: true, Kernel: false})
		}
		return r.Offload.Intended
	}
	intended := r.Intended
	if r.Generation == 0 {
		intended.Generation = r.Kernel.Generation
	}
	r.Diff = append(r.Diff, reconcile.CompareConfigs(intended, r.Kernel.RouterConfig)...)
	if v := r.Kernel.Valid; v != nil && !*v {
		r.Diff = append(r.Diff, logs.Difference{Field: "valid", Intended: true, Kernel: false})
	}
	if r.Offload.Intended && !r.Kernel.Attached {
		r.Diff = append(r.Diff, logs.Difference{Field: "attached", Intended: true, Kernel: false})
	}
	if r.Kernel.LeaseMS <= 0 {
		r.Diff = append(r.Diff, logs.Difference{Field: "lease", Intended: "renewed", Kernel: fmt.Sprintf("ended %.1f s ago, everything passes up", float64(-r.Kernel.LeaseMS)/1000)})
	}
	r.Datapath = "userspace"
	if r.Kernel.Attached && r.Kernel.Enabled && r.Kernel.Valid == nil && r.Kernel.LeaseMS > 0 {
		r.Datapath = "kernel"
	}
	return len(r.Diff) > 0
}

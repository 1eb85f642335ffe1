// SPDX-License-Identifier: Apache-2.0

package loggen

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"plumbline/logs"
)

// Relay simulates a relay far enough to write the log of a whole run: clients
// come and go, flows carry packets, configs change, files rotate. All that it
// logs agrees with its books.
type Relay struct {
	*Log
	Version string
	Offload bool // whether the kernel path is intended, and there
	CPUs    int
	// Interval is the time between two rounds of sums.
	Interval time.Duration
	// FileLines is how many lines make the relay begin another file; 0: never.
	FileLines int
	// Emit takes each finished file under its final name, and the last one as
	// relay.log.
	Emit func(name string, data []byte)

	rnd         *rand.Rand
	start       time.Time
	opened      string  // final name of the file in use
	previous    *string // and of the one before it
	fileLines   int
	before      uint64 // seq of the last line of the file before
	config      logs.RouterConfig
	allocations []*allocation
	made        int
	kernel      logs.KernelCounters
	userspace   logs.UserspaceCounters
}

type allocation struct {
	id, user  string
	client    logs.Addr
	relayed   logs.Addr
	created   time.Time
	expires   logs.Time
	peer      logs.Addr
	inKernel  bool
	begun     bool
	toPeer    logs.Shares
	toClient  logs.Shares
	permitted logs.Time
}

// NewRelay makes a relay whose choices follow from seed. The fields of the
// result may be changed before Start.
func NewRelay(name, run string, start time.Time, seed uint64) *Relay {
	return &Relay{
		Log: NewLog(name, run, start), Version: "0.1.0", Offload: true, CPUs: 2, Interval: 10 * time.Second,
		rnd: rand.New(rand.NewPCG(seed, 1)), start: start,
	}
}

// Start writes the lines of a start. previous is the last file of the run
// before, "" if there is none.
func (r *Relay) Start(previous string) {
	if previous != "" {
		r.previous = &previous
	}
	r.open()
	path := "/etc/plumbline/relay.yaml"
	r.config = logs.RouterConfig{ABI: 1, Generation: 1, Enabled: r.Offload, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478}}
	r.add(logs.ConfigLoaded{Generation: 1, Path: &path, Digest: r.digest(), Source: "start", Changes: []logs.Change{}})
	r.apply()
	if r.Offload {
		r.add(logs.OffloadAttached{Interface: "eth0", Ifindex: 2, Mode: "native", ProgramID: 44, ProgramTag: "f0e1d2c3b4a59687", RouterInstructions: 323})
	}
	r.add(logs.Started{Version: r.Version, PID: 812, Listen: []logs.Addr{addr("203.0.113.7:3478")}, Public: []string{"203.0.113.7"}, ConfigFile: &path, Generation: 1})
}

func (r *Relay) digest() string { return fmt.Sprintf("%064x", r.config.Generation) }

// Reconfigure loads and applies another port range.
func (r *Relay) Reconfigure(lowest, highest uint16) {
	path := "/etc/plumbline/relay.yaml"
	before := r.config
	r.config.Generation++
	r.config.LowestPort, r.config.HighestPort = lowest, highest
	r.add(logs.ConfigLoaded{Generation: r.config.Generation, Path: &path, Digest: r.digest(), Source: "watch", Changes: []logs.Change{{
		Field: "allocations.ports", From: fmt.Sprintf("%d-%d", before.LowestPort, before.HighestPort), To: fmt.Sprintf("%d-%d", lowest, highest),
	}}})
	r.apply()
}

func (r *Relay) apply() {
	e := logs.ConfigApplied{Generation: r.config.Generation, Digest: r.digest(), Intended: r.config, Diff: []logs.Difference{}, DurationUS: 41}
	if r.Offload {
		slot, yes, held := r.config.Generation%2, true, r.config
		e.Slot, e.Kernel, e.Verified = &slot, &held, &yes
	}
	r.add(e)
}

// Round is one interval: clients come up to n, some go, all that are there
// exchange packets, and sums are written.
func (r *Relay) Round(n int) {
	if len(r.allocations) > n/2 && len(r.allocations) > 0 && r.rnd.IntN(4) == 0 {
		r.end(r.rnd.IntN(len(r.allocations)), "expired")
	}
	for len(r.allocations) < n {
		r.allocate()
	}
	if r.rnd.IntN(8) == 0 {
		r.add(logs.AuthRejected{Client: r.client(), User: "mallory", Code: 401, Reason: "wrong password", Count: 3, WindowS: 10})
	}
	first := r.kernel.Received == 0
	r.Now = r.Now.Add(r.Interval)
	for _, a := range r.allocations {
		r.traffic(a)
		if a.permitted.Sub(r.Now) < time.Minute {
			a.permitted = r.in(5 * time.Minute)
			r.add(logs.PermissionRefreshed{Allocation: a.id, Peer: a.peer.Addr().String(), Expires: a.permitted})
		}
	}
	if r.Offload {
		r.unowned()
		if first {
			for cpu := range r.CPUs {
				r.add(logs.ConfigObserved{Generation: r.config.Generation, CPU: cpu, Packets: 3})
			}
		}
	}
	r.Counters(false)
}

// Observe writes that the config in force was seen on every CPU.
func (r *Relay) Observe() {
	for cpu := range r.CPUs {
		r.add(logs.ConfigObserved{Generation: r.config.Generation, CPU: cpu, Packets: 5})
	}
}

func (r *Relay) client() logs.Addr {
	return addr(fmt.Sprintf("198.51.%d.%d:%d", r.rnd.IntN(256), 1+r.rnd.IntN(254), 1024+r.rnd.IntN(60000)))
}

func (r *Relay) in(d time.Duration) logs.Time { return logs.Time{Time: r.Now.Add(d)} }

func (r *Relay) allocate() {
	r.made++
	a := &allocation{
		id: fmt.Sprintf("a-%d", r.made), user: []string{"alice", "bob", "carol", "dave"}[r.made%4], client: r.client(), created: r.Now,
		relayed: addr(fmt.Sprintf("203.0.113.7:%d", 49152+r.made%16000)),
		peer:    addr(fmt.Sprintf("192.0.2.%d:%d", 1+r.rnd.IntN(254), 5000+r.rnd.IntN(5000))),
		expires: r.in(10 * time.Minute), permitted: r.in(5 * time.Minute), inKernel: r.Offload,
	}
	r.allocations = append(r.allocations, a)
	r.add(logs.AllocationCreated{Allocation: a.id, Client: a.client, Transport: "udp", User: a.user, Relayed: []logs.Addr{a.relayed}, LifetimeS: 600, Expires: a.expires})
	r.add(logs.PermissionCreated{Allocation: a.id, Peer: a.peer.Addr().String(), Expires: a.permitted})
	r.add(logs.ChannelBound{Allocation: a.id, Channel: 0x4000, Peer: a.peer, Expires: a.expires})
	if a.inKernel {
		r.add(logs.RouteInstalled{Route: r.route(a)})
	}
}

func (r *Relay) route(a *allocation) logs.Route {
	return logs.Route{Allocation: a.id, Client: a.client, Channel: 0x4000, Peer: a.peer, Relayed: a.relayed,
		Paths: []string{"channel4>udp4", "udp4>channel4"}, Generation: r.config.Generation, Expires: a.expires}
}

// traffic writes what one allocation's two flows carried, and books it.
func (r *Relay) traffic(a *allocation) {
	for _, direction := range []string{"to_peer", "to_client"} {
		n := uint64(50 + r.rnd.IntN(2000))
		t := logs.Traffic{Packets: n, Bytes: n * uint64(100+r.rnd.IntN(1000))}
		change := "summary"
		if !a.begun {
			change = "first"
		}
		id, datapath, path := a.id, "userspace", "channel"
		books, shares := &r.userspace.Counters, &a.toPeer
		if direction == "to_client" {
			shares = &a.toClient
		}
		if a.inKernel {
			datapath, path, books = "kernel", "channel4>udp4", &r.kernel.Counters
			if direction == "to_client" {
				path = "udp4>channel4"
			}
			shares.Kernel = shares.Kernel.Add(t)
		} else {
			shares.Userspace = shares.Userspace.Add(t)
		}
		book(books, "relay", path, t.Packets)
		r.add(logs.RouteDecision{Allocation: &id, Client: a.client, Channel: 0x4000, Peer: a.peer, Direction: direction, Datapath: datapath,
			Verdict: "relay", Reason: path, Generation: r.config.Generation, Change: change, Packets: t.Packets, Bytes: t.Bytes, WindowMS: r.Interval.Milliseconds()})
	}
	a.begun = true
}

// unowned writes packets that no flow owns: STUN requests pass to user space.
func (r *Relay) unowned() {
	n := uint64(1 + r.rnd.IntN(40))
	book(&r.kernel.Counters, "pass", "not_channel_data", n)
	r.add(logs.RouteDecision{Direction: "none", Datapath: "kernel", Verdict: "pass", Reason: "not_channel_data", Generation: r.config.Generation,
		Change: "summary", Packets: n, Bytes: n * 80, WindowMS: r.Interval.Milliseconds(), Examples: []string{"198.51.100.4:40112 > 203.0.113.7:3478"}})
}

func book(c *logs.Counters, verdict, reason string, n uint64) {
	c.Received += n
	switch verdict {
	case "relay":
		c.Relayed += n
	case "pass":
		c.Passed += n
	default:
		c.Dropped += n
	}
	if c.Reasons == nil {
		c.Reasons = map[string]uint64{}
	}
	c.Reasons[reason] += n
}

// Counters writes the sums so far.
func (r *Relay) Counters(final bool) {
	e := logs.DatapathCounters{Userspace: r.userspace, WindowMS: r.Interval.Milliseconds(), Final: final}
	if e.Userspace.Reasons == nil {
		e.Userspace.Reasons = map[string]uint64{}
	}
	if r.Offload {
		k := r.kernel
		e.Kernel = &k
	}
	r.add(e)
}

// end deletes the i-th allocation.
func (r *Relay) end(i int, reason string) {
	a := r.allocations[i]
	r.allocations = append(r.allocations[:i], r.allocations[i+1:]...)
	if a.inKernel {
		r.add(logs.RouteRemoved{Allocation: a.id, Client: a.client, Channel: 0x4000, Peer: a.peer, Relayed: a.relayed, Reason: reason})
	}
	r.add(logs.AllocationDeleted{Allocation: a.id, Client: a.client, Relayed: []logs.Addr{a.relayed}, Reason: reason,
		AgeS: r.Now.Sub(a.created).Seconds(), ToPeer: a.toPeer, ToClient: a.toClient})
}

// Stop writes the lines of an orderly end and hands out the last file.
func (r *Relay) Stop() {
	r.add(logs.Stopping{Reason: "SIGTERM", Allocations: len(r.allocations), UptimeS: r.Now.Sub(r.start).Seconds()})
	for len(r.allocations) > 0 {
		r.end(0, "shutdown")
	}
	if r.Offload {
		r.add(logs.OffloadDetached{Interface: "eth0", Reason: "shutdown"})
	}
	r.Counters(true)
	r.add(logs.Stopped{Reason: "SIGTERM", UptimeS: r.Now.Sub(r.start).Seconds()})
	r.Add(logs.Closed{Lines: int64(r.Seq-r.before) + 1, Reason: "shutdown"})
	r.Crash()
}

// Crash hands out what was written, with no last words.
func (r *Relay) Crash() {
	if r.Emit != nil {
		r.Emit("relay.log", r.Bytes())
	}
}

// File is the name that the file in use will have when it is rotated.
func (r *Relay) File() string { return r.opened }

// Line writes one line of the caller's choice, and rotates when it is time.
func (r *Relay) Line(e logs.Event) { r.add(e) }

func (r *Relay) add(e logs.Event) {
	r.Add(e)
	if r.fileLines++; r.FileLines > 0 && r.fileLines >= r.FileLines {
		r.Rotate()
	}
}

// Rotate ends the file in use and begins the next one with a checkpoint.
func (r *Relay) Rotate() {
	done := r.opened
	next := fileName(r.Now.Add(time.Millisecond))
	r.Add(logs.Closed{Next: &next, Lines: int64(r.Seq-r.before) + 1, Reason: "size"})
	if r.Emit != nil {
		r.Emit(done, r.Bytes())
		r.Lines = r.Lines[:0]
	}
	r.previous = &done
	r.open()
	mode := "native"
	state := logs.OffloadState{Intended: r.Offload, Attached: r.Offload}
	if r.Offload {
		state.Mode = &mode
	}
	r.Add(logs.CheckpointStarted{Reason: "file", Generation: r.config.Generation, Digest: r.digest(), Intended: r.config, Offload: state, Allocations: len(r.allocations)})
	routes := 0
	for _, a := range r.allocations {
		e := logs.CheckpointAllocation{Allocation: a.id, Client: a.client, Transport: "udp", User: a.user, Relayed: []logs.Addr{a.relayed}, Expires: a.expires,
			Permissions: []logs.CheckpointPermission{{Peer: a.peer.Addr().String(), Expires: a.permitted}},
			Channels:    []logs.CheckpointChannel{{Channel: 0x4000, Peer: a.peer, Expires: a.expires}}, Routes: []logs.Route{}}
		if a.inKernel {
			e.Routes = append(e.Routes, r.route(a))
			routes++
		}
		r.Add(e)
	}
	r.Add(logs.CheckpointFinished{Allocations: len(r.allocations), Permissions: len(r.allocations), Channels: len(r.allocations), Routes: routes})
}

func (r *Relay) open() {
	r.opened, r.fileLines, r.before = fileName(r.Now), 1, r.Seq
	r.Add(logs.Opened{Schema: logs.Schema, Version: r.Version, File: r.opened, Previous: r.previous})
}

func fileName(at time.Time) string {
	return "relay-" + at.UTC().Format("20060102T150405.000Z") + ".log"
}

func addr(s string) logs.Addr { return logs.Addr{AddrPort: netip.MustParseAddrPort(s)} }

// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"fmt"
	"strings"
)

// Route is what every route event says of a channel's two directions through
// the kernel.
type Route struct {
	Allocation string   `json:"allocation"`
	Client     Addr     `json:"client"`
	Channel    Channel  `json:"channel"`
	Peer       Addr     `json:"peer"`
	Relayed    Addr     `json:"relayed"`
	Paths      []string `json:"paths" pattern:"^(udp|channel)[46]>(udp|channel)[46]$"` // channel4>udp4, udp4>channel4
	Generation uint32   `json:"generation"`
	Expires    Time     `json:"expires"`
}

func (r Route) what() string {
	return fmt.Sprintf("%s channel %s → %s", r.Allocation, r.Channel, r.Peer)
}

// RouteInstalled says that both directions are in the kernel and were read back.
type RouteInstalled struct{ Route }

func (RouteInstalled) Name() string       { return "route.installed" }
func (RouteInstalled) Severity() Severity { return Info }
func (e RouteInstalled) Message() string  { return e.what() + " routed in the kernel" }

// RouteUpdated says what changed of an installed route.
type RouteUpdated struct {
	Route
	Changes []Change `json:"changes"`
}

func (RouteUpdated) Name() string       { return "route.updated" }
func (RouteUpdated) Severity() Severity { return Info }
func (e RouteUpdated) Message() string {
	parts := make([]string, len(e.Changes))
	for i, c := range e.Changes {
		parts[i] = fmt.Sprintf("%s %v → %v", c.Field, c.From, c.To)
	}
	return e.what() + " route updated: " + strings.Join(parts, ", ")
}

// RouteRemoved says that the kernel holds the route no more.
type RouteRemoved struct {
	Allocation string  `json:"allocation"`
	Client     Addr    `json:"client"`
	Channel    Channel `json:"channel"`
	Peer       Addr    `json:"peer"`
	Relayed    Addr    `json:"relayed"`
	Reason     string  `json:"reason"`
}

func (RouteRemoved) Name() string       { return "route.removed" }
func (RouteRemoved) Severity() Severity { return Info }
func (e RouteRemoved) Message() string {
	return fmt.Sprintf("%s channel %s → %s route removed: %s", e.Allocation, e.Channel, e.Peer, e.Reason)
}

// RouteFailed says that the kernel could not take the route.
type RouteFailed struct {
	Route
	Error    string `json:"error"`
	Datapath string `json:"datapath" enum:"userspace"`
	// Pending says that nothing is wrong: the route follows as soon as the
	// first packet has made the kernel resolve the next hop.
	Pending bool `json:"pending"`
	// ByDesign says that the router does not carry such a route at all, and
	// nobody should look for a cause.
	ByDesign bool `json:"by_design"`
}

func (RouteFailed) Name() string { return "route.failed" }
func (e RouteFailed) Severity() Severity {
	if e.Pending || e.ByDesign {
		return Info
	}
	return Warn
}
func (e RouteFailed) Message() string {
	if e.Pending {
		return fmt.Sprintf("%s waits for its next hop, relayed in %s until then: %s", e.what(), place(e.Datapath), e.Error)
	}
	return fmt.Sprintf("%s is relayed in %s: %s", e.what(), place(e.Datapath), e.Error)
}

// RouteSide is one direction of a route whole, as intended or as the kernel
// holds it.
type RouteSide struct {
	Key     string `json:"key"`     // remote → local, channel
	Flow    uint32 `json:"flow"`    // flow number
	Rewrite string `json:"rewrite"` // new source → new destination, channel
	Ifindex uint32 `json:"ifindex"`
	SrcMAC  string `json:"src_mac"`
	DstMAC  string `json:"dst_mac"`
	// ExpiryNS is CLOCK_MONOTONIC in nanoseconds.
	ExpiryNS uint64 `json:"expiry_ns"`
}

// RouteDrifted says that kernel and intent differ for one direction.
type RouteDrifted struct {
	Class     string       `json:"class" enum:"missing,unexpected,different,stale"`
	Route     `null:"yes"` // of an unexpected route nothing may be known
	Direction string       `json:"direction" enum:"to_peer,to_client"`
	Intended  *RouteSide   `json:"intended"`
	Kernel    *RouteSide   `json:"kernel"`
	Diff      []Difference `json:"diff"`
}

func (RouteDrifted) Name() string       { return "route.drifted" }
func (RouteDrifted) Severity() Severity { return Warn }
func (e RouteDrifted) Message() string {
	switch e.Class {
	case "missing":
		return fmt.Sprintf("kernel route missing: %s (%s)", e.what(), e.Direction)
	case "unexpected":
		key := ""
		if e.Kernel != nil {
			key = e.Kernel.Key
		}
		return "kernel holds a route that nobody asked for: " + key
	case "stale":
		return fmt.Sprintf("kernel route has another expiry than intended: %s (%s)", e.what(), e.Direction)
	}
	return fmt.Sprintf("kernel route differs: %s (%s): %s", e.what(), e.Direction, sentence(e.Diff))
}

// RouteRepaired says that route drift was written over and read back.
type RouteRepaired struct {
	Route    `null:"yes"` // of an unexpected route nothing may be known
	Class    string       `json:"class" enum:"missing,unexpected,different,stale"`
	Verified bool         `json:"verified"`
}

func (RouteRepaired) Name() string { return "route.repaired" }
func (e RouteRepaired) Severity() Severity {
	if !e.Verified {
		return Error
	}
	return Info
}
func (e RouteRepaired) Message() string {
	what := e.what()
	if e.Class == "unexpected" {
		what = "a route that nobody asked for"
	}
	if !e.Verified {
		return fmt.Sprintf("kernel route repair of %s (%s) could not be verified", what, e.Class)
	}
	return fmt.Sprintf("kernel route repaired and verified: %s (%s)", what, e.Class)
}

// RouteDecision is how packets of one flow and direction were decided since the
// decision before it. Passes and drops that no flow owns have null client and
// peer, one line per reason and interval.
type RouteDecision struct {
	Allocation *string  `json:"allocation"`
	Client     Addr     `json:"client" null:"yes"`
	Channel    Channel  `json:"channel" null:"yes"`
	Peer       Addr     `json:"peer" null:"yes"`
	Direction  string   `json:"direction" enum:"to_peer,to_client,none"`
	Datapath   string   `json:"datapath" enum:"kernel,userspace"`
	Verdict    string   `json:"verdict" enum:"relay,pass,drop"`
	Reason     string   `json:"reason"`
	Generation uint32   `json:"generation"`
	Change     string   `json:"change" enum:"first,changed,summary"`
	Packets    uint64   `json:"packets"`
	Bytes      uint64   `json:"bytes"`
	WindowMS   int64    `json:"window_ms"`
	Examples   []string `json:"examples,omitempty"`
}

func (RouteDecision) Name() string       { return "route.decision" }
func (RouteDecision) Severity() Severity { return Info }
func (e RouteDecision) Message() string {
	if e.Allocation == nil {
		return fmt.Sprintf("%s %s in %s: %s", packets(e.Packets), past(e.Verdict), place(e.Datapath), e.Reason)
	}
	whither := "→ peer"
	if e.Direction == "to_client" {
		whither = "→ client"
	}
	what := packets(e.Packets)
	if e.Change == "first" {
		what = "first packets"
	}
	return fmt.Sprintf("%s %s %s: %s %s in %s (%s)", *e.Allocation, e.Peer, whither, what, past(e.Verdict), place(e.Datapath), e.Reason)
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return fmt.Sprintf("%d packets", n)
}

func past(verdict string) string {
	switch verdict {
	case "relay":
		return "relayed"
	case "pass":
		return "passed up"
	}
	return "dropped"
}

func place(datapath string) string {
	if datapath == "kernel" {
		return "the kernel"
	}
	return "user space"
}

// Counters are one datapath's packets since the run's start. Received is
// Relayed + Passed + Dropped; Reasons splits all three.
type Counters struct {
	Received uint64            `json:"received"`
	Relayed  uint64            `json:"relayed"`
	Passed   uint64            `json:"passed"`
	Dropped  uint64            `json:"dropped"`
	Reasons  map[string]uint64 `json:"reasons"`
}

// KernelCounters adds what the device says: an XDP_TX verdict is not yet a sent
// packet.
type KernelCounters struct {
	Counters
	TxErrors      uint64 `json:"tx_errors"`
	DecisionsLost uint64 `json:"decisions_lost"`
}

// UserspaceCounters adds what the sockets' queues lost before we could read it.
type UserspaceCounters struct {
	Counters
	Overflowed uint64 `json:"overflowed"`
}

// DatapathCounters is written every interval, around drift, and at the end.
type DatapathCounters struct {
	Kernel    *KernelCounters   `json:"kernel"` // null: the router was never attached
	Userspace UserspaceCounters `json:"userspace"`
	WindowMS  int64             `json:"window_ms"`
	Final     bool              `json:"final"`
}

func (DatapathCounters) Name() string       { return "datapath.counters" }
func (DatapathCounters) Severity() Severity { return Info }
func (e DatapathCounters) Message() string {
	upto := "so far"
	if e.Final {
		upto = "in all"
	}
	if e.Kernel == nil {
		return fmt.Sprintf("%s: user space relayed %d of %d packets", upto, e.Userspace.Relayed, e.Userspace.Received)
	}
	return fmt.Sprintf("%s: the kernel relayed %d of %d packets and passed %d up, user space relayed %d of %d",
		upto, e.Kernel.Relayed, e.Kernel.Received, e.Kernel.Passed, e.Userspace.Relayed, e.Userspace.Received)
}

// SPDX-License-Identifier: Apache-2.0

// Package summary counts what the lines of a log say: runs and how they ended,
// configs, allocations, traffic by datapath and direction, and what was passed
// up, dropped or refused, by reason.
package summary

import (
	"strconv"

	"plumbline/analyze"
	"plumbline/logs"
)

// Summary is what a log comes to.
type Summary struct {
	Schema int    `json:"schema"`
	Runs   []*Run `json:"runs"`
	// Findings counts what package mismatch finds, by class.
	Findings map[string]int `json:"findings"`
	Log      analyze.Stats  `json:"log"`
}

// Run is one run of one relay, as far as the selected lines tell.
type Run struct {
	Relay   string    `json:"relay"`
	Run     string    `json:"run"`
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	From    logs.Time `json:"from"`
	To      logs.Time `json:"to"`
	// End is stopped; goes_on, where the log ends with a file that another
	// follows; crashed, where a later run of this relay began; or open, where
	// the relay may still be running.
	End         string               `json:"end"`
	Reason      string               `json:"reason"`
	Lines       int                  `json:"lines"`
	Severities  map[string]int       `json:"severities"`
	Configs     []Config             `json:"configs"`
	Allocations Allocations          `json:"allocations"`
	ToPeer      logs.Shares          `json:"to_peer"`
	ToClient    logs.Shares          `json:"to_client"`
	Passed      map[string]Decisions `json:"passed"`  // by datapath
	Dropped     map[string]Decisions `json:"dropped"` // by datapath
	Refused     map[string]uint64    `json:"refused"` // by event and code

	alive map[string]bool
}

// Config is a generation that was applied.
type Config struct {
	Generation uint32    `json:"generation"`
	Applied    logs.Time `json:"applied"`
	Verified   *bool     `json:"verified"` // null: offload was not in use
}

// Allocations counts them. Alive are those that the last line leaves.
type Allocations struct {
	Made  int            `json:"made"`
	Ended map[string]int `json:"ended"` // by reason
	Alive int            `json:"alive"`
}

// Decisions are packets by reason.
type Decisions map[string]uint64

// Counter takes the lines of a Reader in their order.
type Counter struct {
	sel   *analyze.Selector
	runs  map[*analyze.Run]*Run
	order []*Run
}

// New makes a Counter of the selected lines; nil counts all.
func New(sel *analyze.Selector) *Counter {
	return &Counter{sel: sel, runs: map[*analyze.Run]*Run{}}
}

// Line counts a line.
func (c *Counter) Line(l *analyze.Line) {
	if c.sel != nil && !c.sel.Match(l) {
		return
	}
	r := c.runs[l.Run]
	if r == nil {
		r = &Run{
			Relay: l.Run.Relay, Run: l.Run.ID, From: logs.Time{Time: l.When()}, End: "open",
			Severities: map[string]int{}, Configs: []Config{}, Passed: map[string]Decisions{}, Dropped: map[string]Decisions{},
			Refused: map[string]uint64{}, Allocations: Allocations{Ended: map[string]int{}}, alive: map[string]bool{},
		}
		c.runs[l.Run] = r
		c.order = append(c.order, r)
	}
	r.To = logs.Time{Time: l.When()}
	r.Lines++
	r.Severities[l.Severity.String()]++
	if r.End == "goes_on" {
		r.End = "open"
	}
	r.event(l)
}

func (r *Run) event(l *analyze.Line) {
	switch string(l.Event) {
	case "route.decision":
		r.decision(l)
	case "log.opened":
		r.Version = string(analyze.Field(l.Raw, "version"))
	case "log.closed":
		if r.End == "open" && analyze.Field(l.Raw, "next") != nil {
			r.End = "goes_on"
		}
	case "relay.started":
		var e logs.Started
		if l.Decode(&e) == nil {
			r.Version, r.PID = e.Version, e.PID
		}
	case "relay.stopped":
		r.End, r.Reason = "stopped", string(analyze.Field(l.Raw, "reason"))
	case "config.applied":
		var e logs.ConfigApplied
		if l.Decode(&e) == nil {
			r.Configs = append(r.Configs, Config{e.Generation, logs.Time{Time: l.When()}, e.Verified})
		}
	case "allocation.created":
		r.Allocations.Made++
		r.alive[string(analyze.Field(l.Raw, "allocation"))] = true
	case "checkpoint.allocation":
		r.alive[string(analyze.Field(l.Raw, "allocation"))] = true
	case "allocation.deleted":
		r.Allocations.Ended[string(analyze.Field(l.Raw, "reason"))]++
		delete(r.alive, string(analyze.Field(l.Raw, "allocation")))
	case "allocation.rejected", "auth.rejected", "channel.rejected", "permission.denied":
		n := number(analyze.Field(l.Raw, "count"))
		r.Refused[string(l.Event)+" "+string(analyze.Field(l.Raw, "code"))] += max(n, 1)
	}
}

func (r *Run) decision(l *analyze.Line) {
	t := logs.Traffic{Packets: number(analyze.Field(l.Raw, "packets")), Bytes: number(analyze.Field(l.Raw, "bytes"))}
	if t.Packets == 0 {
		return
	}
	datapath := string(analyze.Field(l.Raw, "datapath"))
	where := r.Passed
	switch string(analyze.Field(l.Raw, "verdict")) {
	case "relay":
		shares := &r.ToPeer
		if string(analyze.Field(l.Raw, "direction")) == "to_client" {
			shares = &r.ToClient
		}
		if datapath == "kernel" {
			shares.Kernel = shares.Kernel.Add(t)
		} else {
			shares.Userspace = shares.Userspace.Add(t)
		}
		return
	case "drop":
		where = r.Dropped
	}
	if where[datapath] == nil {
		where[datapath] = Decisions{}
	}
	where[datapath][string(analyze.Field(l.Raw, "reason"))] += t.Packets
}

func number(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(b), 10, 64)
	return n
}

// Finish gives the sums. findings are the classes of what was found, by count.
func (c *Counter) Finish(stats analyze.Stats, findings map[string]int) *Summary {
	latest := map[string]*Run{}
	for _, r := range c.order {
		r.Allocations.Alive = len(r.alive)
		if before := latest[r.Relay]; before != nil && before.End == "open" {
			before.End = "crashed"
		}
		latest[r.Relay] = r
	}
	return &Summary{Schema: 1, Runs: append([]*Run{}, c.order...), Findings: findings, Log: stats}
}

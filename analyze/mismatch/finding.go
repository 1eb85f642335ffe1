// SPDX-License-Identifier: Apache-2.0

// Package mismatch finds where the log shows the kernel doing other than what
// was intended, and where the log itself is not whole.
//
// Each class of finding is decided from the lines of one run alone, and only
// when the log proves it: what may still be in flight, what a log that begins
// in the middle cannot show, and what a hole may hide is no finding.
package mismatch

import (
	"plumbline/analyze"
	"plumbline/logs"
)

// Class is a kind of finding.
type Class string

// The classes.
const (
	// ConfigDrift: the kernel's config was not what had been applied.
	ConfigDrift Class = "config-drift"
	// RouteDrift: a route was missing from the kernel, different, stale, or
	// there without having been asked for.
	RouteDrift Class = "route-drift"
	// NotVerified: a config was applied and not read back as intended.
	NotVerified Class = "apply-not-verified"
	// NeverObserved: packets reached the router after an apply, and none was
	// ever seen under that config.
	NeverObserved Class = "apply-never-observed"
	// RolledBack: an apply failed, and the config before it stayed in force.
	RolledBack Class = "rolled-back"
	// LogHole: lines of a run are missing.
	LogHole Class = "log-hole"
	// OffloadUnavailable: the kernel path was intended and not there.
	OffloadUnavailable Class = "offload-unavailable"
	// TransmitFailing: the device swallowed frames that the router had sent.
	TransmitFailing Class = "transmit-failing"
	// UserspaceRoute: a channel was relayed in user space though the kernel
	// path was intended.
	UserspaceRoute Class = "userspace-route"
	// SumsDiffer: the decisions of a whole run do not add up to its counters.
	SumsDiffer Class = "sums-differ"
)

// advice is what to do about each class.
var advice = map[Class]string{
	ConfigDrift:        "find what else writes the pinned maps (bpftool map, a second relay on the same instance name); the relay repairs, but packets pass through user space until then",
	RouteDrift:         "find what else writes the pinned route maps; relay status shows what the kernel holds now",
	NotVerified:        "compare with relay status; if it differs still, restart the relay, and until then do not trust the kernel path",
	NeverObserved:      "look at relay status for the generation that the router uses, and whether the program attached is the one that the log names",
	RolledBack:         "the file asks for what could not be put into the kernel: mend the cause, then touch the file or send SIGHUP",
	LogHole:            "look for full disks and lost files; what happened in between is known only as far as the next checkpoint",
	OffloadUnavailable: "mend the cause, or set offload.enabled: false to say that user space is what you want",
	TransmitFailing:    "set offload.mode: generic, or use a device whose driver can send XDP frames",
	UserspaceRoute:     "nothing is lost, but these channels cost CPU: mend the cause, or let their allocations end",
	SumsDiffer:         "the log does not account for every packet: please report it with this log",
}

// Evidence is a line that shows a part of a finding.
type Evidence struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Seq  uint64 `json:"seq"`
	Role string `json:"role"`

	selected bool
}

// as is the same line in another role.
func (e Evidence) as(role string) Evidence {
	e.Role = role
	return e
}

// Effect is what became of packets while a finding lasted, as the counters
// before and after it show. Reasons holds what grew in the kernel.
type Effect struct {
	Text    string            `json:"text"`
	Reasons map[string]uint64 `json:"kernel_reasons,omitempty"`
	// Lost is every packet that was dropped or swallowed in that time, whatever
	// the reason: 0 proves that none was lost to this.
	Lost uint64 `json:"lost"`
	// Userspace is how many packets user space relayed for the routes concerned.
	Userspace uint64 `json:"userspace_relayed,omitempty"`
}

// Finding is one thing that is not as intended, or a number of things that are
// not as intended in the same way.
type Finding struct {
	ID         string    `json:"id"`
	Class      Class     `json:"class"`
	Summary    string    `json:"summary"`
	Relay      string    `json:"relay"`
	Run        string    `json:"run"`
	From       logs.Time `json:"from"`
	To         logs.Time `json:"to"` // null while it stands
	Standing   bool      `json:"standing"`
	Generation uint32    `json:"generation"` // 0: none concerned
	Count      int       `json:"count"`
	// Diff has on its two sides what was intended and what the kernel held; for
	// SumsDiffer, what the decisions add up to and what the counters say.
	Diff     []logs.Difference  `json:"diff"`
	Missing  []analyze.Interval `json:"missing,omitempty"`
	Effect   *Effect            `json:"effect"`
	Evidence []Evidence         `json:"evidence"`
	// MoreEvidence is how many lines were left out of Evidence.
	MoreEvidence int    `json:"more_evidence"`
	ToDo         string `json:"to_do"`

	of       *Analysis
	passing  bool // it may turn out to be a part of the relay's end
	selected bool // it cites a line that is selected
}

// maxEvidence bounds how many lines a group of findings cites.
const maxEvidence = 8

func (f *Finding) cite(l *analyze.Line, role string) {
	f.add(f.of.at(l, role))
}

func (f *Finding) add(e Evidence) {
	if e.Line == 0 {
		return
	}
	f.selected = f.selected || e.selected
	if len(f.Evidence) >= maxEvidence {
		f.MoreEvidence++
		return
	}
	f.Evidence = append(f.Evidence, e)
}

// join adds a finding of the same kind to a group.
func (f *Finding) join(other *Finding) {
	f.Count += other.Count
	if other.From.Before(f.From.Time) {
		f.From = other.From
	}
	f.Standing = f.Standing || other.Standing
	if f.Standing {
		f.To = logs.Time{}
	} else if other.To.After(f.To.Time) {
		f.To = other.To
	}
	for _, e := range other.Evidence {
		f.add(e)
	}
	f.MoreEvidence += other.MoreEvidence
	f.Missing = append(f.Missing, other.Missing...)
	if e := other.Effect; e != nil {
		if f.Effect == nil {
			f.Effect = &Effect{}
		}
		if f.Effect.Reasons == nil && e.Reasons != nil {
			f.Effect.Reasons = map[string]uint64{}
		}
		for k, v := range e.Reasons {
			f.Effect.Reasons[k] += v
		}
		f.Effect.Lost += e.Lost
		f.Effect.Userspace += e.Userspace
		f.Effect.Text = f.Effect.words()
	}
}

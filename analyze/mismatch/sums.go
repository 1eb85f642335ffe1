// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"

	"plumbline/logs"
)

// sums adds up the decisions of a run.
type sums struct {
	kernel, userspace logs.Counters
	unknown           bool // a decision could not be read
	final             *logs.DatapathCounters
	at                Evidence
}

func (s *sums) add(datapath, verdict []byte, n uint64) {
	c := &s.userspace
	switch string(datapath) {
	case "kernel":
		c = &s.kernel
	case "userspace":
	default:
		s.unknown = true
	}
	switch string(verdict) {
	case "relay":
		c.Relayed += n
	case "pass":
		c.Passed += n
	case "drop":
		c.Dropped += n
	default:
		s.unknown = true
	}
}

// endSums compares the decisions with the final counters. Only a run that is
// whole, from its first line to its final counters, can be judged.
func (r *run) endSums() {
	s := &r.sums
	bounds, _ := r.id.Seen.Bounds()
	if s.final == nil || s.unknown || bounds.First != 1 || len(r.id.Seen.Holes()) > 0 {
		return
	}
	var kernel logs.Counters
	if s.final.Kernel != nil {
		kernel = s.final.Kernel.Counters
	}
	r.compare("kernel", s.kernel, kernel)
	r.compare("user space", s.userspace, s.final.Userspace.Counters)
}

func (r *run) compare(datapath string, decided, counted logs.Counters) {
	var d []logs.Difference
	for _, f := range []struct {
		name string
		a, b uint64
	}{
		{"relayed", decided.Relayed, counted.Relayed},
		{"passed", decided.Passed, counted.Passed},
		{"dropped", decided.Dropped, counted.Dropped},
		{"received", counted.Relayed + counted.Passed + counted.Dropped, counted.Received},
	} {
		if f.a != f.b {
			d = append(d, logs.Difference{Field: f.name, Intended: f.a, Kernel: f.b})
		}
	}
	if d == nil {
		return
	}
	f := r.finding(SumsDiffer, r.began, fmt.Sprintf("the packets of the run's decisions are not those that the %s counted", datapath))
	f.To, f.Diff = r.ended, d
	f.add(r.sums.at)
	r.report(f, datapath)
}

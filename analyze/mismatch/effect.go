// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"plumbline/logs"
)

// snapshot is one datapath.counters line.
type snapshot struct {
	at time.Time
	c  logs.DatapathCounters
	e  Evidence
}

// history keeps the newest counters of a run: enough to reach back behind the
// last moment at which a config was seen to be right.
type history struct{ snaps []snapshot }

const historyLength = 64

func (h *history) add(s snapshot) {
	if len(h.snaps) == historyLength {
		h.snaps = slices.Delete(h.snaps, 0, 1)
	}
	h.snaps = append(h.snaps, s)
}

// before is the newest snapshot not after t, else the oldest one.
func (h *history) before(t time.Time) *snapshot {
	for i := len(h.snaps) - 1; i >= 0; i-- {
		if !h.snaps[i].at.After(t) {
			s := h.snaps[i]
			return &s
		}
	}
	if len(h.snaps) > 0 {
		s := h.snaps[0]
		return &s
	}
	return nil
}

// newest is the latest snapshot, nil if there is none.
func (h *history) newest() *snapshot {
	if len(h.snaps) == 0 {
		return nil
	}
	s := h.snaps[len(h.snaps)-1]
	return &s
}

// between is what packets met from a to b.
func between(a, b *snapshot) *Effect {
	if a == nil || b == nil || b.c.Kernel == nil {
		return nil
	}
	var from logs.KernelCounters
	if a.c.Kernel != nil {
		from = *a.c.Kernel
	}
	to := *b.c.Kernel
	e := &Effect{Reasons: map[string]uint64{}}
	for reason, n := range to.Reasons {
		if d := grown(from.Reasons[reason], n); d > 0 {
			e.Reasons[reason] = d
		}
	}
	e.Lost = grown(from.Dropped, to.Dropped) + grown(from.TxErrors, to.TxErrors) +
		grown(a.c.Userspace.Dropped, b.c.Userspace.Dropped) + grown(a.c.Userspace.Overflowed, b.c.Userspace.Overflowed)
	e.Text = e.words()
	return e
}

// grown is how much a counter grew; counters only fall if something is wrong
// with them, which is not for here to say.
func grown(a, b uint64) uint64 {
	if b < a {
		return 0
	}
	return b - a
}

func (e *Effect) words() string {
	var parts []string
	if n := e.Reasons["config_unset"]; n > 0 {
		parts = append(parts, fmt.Sprintf("%s passed up as config_unset in that time", packets(n)))
	} else if e.Reasons != nil {
		names := make([]string, 0, len(e.Reasons))
		for reason := range e.Reasons {
			names = append(names, reason)
		}
		slices.SortFunc(names, func(a, b string) int {
			if e.Reasons[a] != e.Reasons[b] {
				return int(min(e.Reasons[b], 1<<30)) - int(min(e.Reasons[a], 1<<30))
			}
			return strings.Compare(a, b)
		})
		for i, reason := range names {
			names[i] = fmt.Sprintf("%s %s", reason, grouped(e.Reasons[reason]))
		}
		if len(names) == 0 {
			parts = append(parts, "the kernel decided no packet in that time")
		} else {
			parts = append(parts, "the kernel decided in that time: "+strings.Join(names, ", "))
		}
	}
	if e.Userspace > 0 {
		parts = append(parts, packets(e.Userspace)+" relayed in user space instead")
	}
	switch {
	case e.Reasons == nil && e.Lost > 0:
		parts = append(parts, packets(e.Lost)+" lost")
	case e.Reasons != nil && e.Lost > 0: // drops that the rules ask for are among them
		parts = append(parts, grouped(e.Lost)+" dropped for whatever reason")
	case e.Reasons != nil:
		parts = append(parts, "0 lost")
	}
	return strings.Join(parts, ", ")
}

func packets(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return grouped(n) + " packets"
}

// grouped writes a number with commas between thousands.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

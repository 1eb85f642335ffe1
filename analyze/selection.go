// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"path"
	"strings"
	"time"

	"plumbline/logs"
)

// Selection is which lines somebody wants to see. Its zero value selects all.
type Selection struct {
	Since, Until time.Time // zero: open; Until is the first moment not wanted
	Severity     logs.Severity
	Event        string // glob over names, such as config.*; several with commas
	Allocation   string
	Client       string // ip:port, or ip for any port
	Peer         string // ip:port, or ip for any port
}

// Selector applies a Selection to the lines of a Reader in their order. It
// learns which allocations belong to the wanted client, because most lines of
// an allocation name only its id; so it must be shown every line.
type Selector struct {
	sel          Selection
	since, until int64
	globs        []string
	names        map[string]bool // verdicts of the globs so far
	ids          map[allocationID]bool
	needles      [][]byte
}

type allocationID struct {
	run *Run
	id  string
}

// NewSelector checks the selection and makes a Selector for one Reader.
func NewSelector(sel Selection) (*Selector, error) {
	s := &Selector{sel: sel, since: math.MinInt64, until: math.MaxInt64, names: map[string]bool{}, ids: map[allocationID]bool{}}
	if !sel.Since.IsZero() {
		s.since = sel.Since.UnixNano()
	}
	if !sel.Until.IsZero() {
		s.until = sel.Until.UnixNano()
	}
	if s.until <= s.since {
		return nil, fmt.Errorf("--since %s is not before --until %s", logs.Time{Time: sel.Since}, logs.Time{Time: sel.Until})
	}
	if sel.Event != "" {
		s.globs = strings.Split(sel.Event, ",")
		for _, g := range s.globs {
			if _, err := path.Match(g, "config.loaded"); err != nil || g == "" {
				return nil, fmt.Errorf("--event %q is no glob: write names such as config.applied, or config.*", g)
			}
		}
	}
	for _, a := range []struct{ flag, value string }{{"--client", sel.Client}, {"--peer", sel.Peer}} {
		if a.value == "" {
			continue
		}
		needle, err := addressNeedle(a.value)
		if err != nil {
			return nil, fmt.Errorf("%s %q is neither ip nor ip:port", a.flag, a.value)
		}
		s.needles = append(s.needles, needle)
	}
	if sel.Allocation != "" {
		s.needles = append(s.needles, fmt.Appendf(nil, `"%s"`, sel.Allocation))
	}
	return s, nil
}

// addressNeedle is bytes that every line with this address holds.
func addressNeedle(value string) ([]byte, error) {
	if ap, err := netip.ParseAddrPort(value); err == nil {
		return []byte(ap.Addr().String()), nil
	}
	ip, err := netip.ParseAddr(value)
	return []byte(ip.String()), err
}

// All is true if every line is selected.
func (s *Selector) All() bool {
	return s.since == math.MinInt64 && s.until == math.MaxInt64 && s.sel.Severity == logs.Debug && s.globs == nil && s.needles == nil
}

// Within is true if any part of the time from a to b is selected.
func (s *Selector) Within(a, b int64) bool { return a < s.until && b >= s.since }

// Match says whether the line is selected.
func (s *Selector) Match(l *Line) bool {
	return s.match(l, l.Time >= s.since && l.Time < s.until)
}

// MatchAnyTime says whether the line would be selected if its time did not
// matter.
func (s *Selector) MatchAnyTime(l *Line) bool { return s.match(l, true) }

func (s *Selector) match(l *Line, inTime bool) bool {
	head := inTime && l.Severity >= s.sel.Severity && s.event(l.Event)
	if s.needles == nil {
		return head
	}
	if s.sel.Client == "" {
		// Nothing is to be learned from lines that are not wanted.
		if !head {
			return false
		}
		for _, needle := range s.needles {
			if !bytes.Contains(l.Raw, needle) {
				return false
			}
		}
	}
	return s.parties(l) && head
}

func (s *Selector) event(name []byte) bool {
	if s.globs == nil {
		return true
	}
	verdict, known := s.names[string(name)]
	if !known {
		for _, g := range s.globs {
			if ok, _ := path.Match(g, string(name)); ok {
				verdict = true
			}
		}
		if len(s.names) < 1024 { // an input with endless names must not grow it
			s.names[string(name)] = verdict
		}
	}
	return verdict
}

// parties compares who a line is about with who is wanted.
func (s *Selector) parties(l *Line) bool {
	id := Field(l.Raw, "allocation")
	if s.sel.Client != "" {
		mine := id != nil && s.ids[allocationID{l.Run, string(id)}]
		if client := Field(l.Raw, "client"); client != nil {
			mine = sameAddress(string(client), s.sel.Client)
			if mine && id != nil {
				s.ids[allocationID{l.Run, string(id)}] = true
			}
		}
		if !mine {
			return false
		}
		if string(l.Event) == "allocation.deleted" {
			delete(s.ids, allocationID{l.Run, string(id)})
		}
	}
	if s.sel.Allocation != "" && string(id) != s.sel.Allocation {
		return false
	}
	if s.sel.Peer == "" {
		return true
	}
	if sameAddress(string(Field(l.Raw, "peer")), s.sel.Peer) {
		return true
	}
	return string(l.Event) == "checkpoint.allocation" && s.peerInCheckpoint(l)
}

func (s *Selector) peerInCheckpoint(l *Line) bool {
	var e logs.CheckpointAllocation
	if l.Decode(&e) != nil {
		return false
	}
	for _, p := range e.Permissions {
		if sameAddress(p.Peer, s.sel.Peer) {
			return true
		}
	}
	for _, c := range e.Channels {
		if sameAddress(c.Peer.String(), s.sel.Peer) {
			return true
		}
	}
	return false
}

// sameAddress compares what a line says, ip:port or ip, with what was asked
// for. Where either has no port, any port will do: a permission is for an IP.
func sameAddress(have, want string) bool {
	ip := func(s string) (netip.Addr, uint16) {
		if ap, err := netip.ParseAddrPort(s); err == nil {
			return ap.Addr().Unmap(), ap.Port()
		}
		a, _ := netip.ParseAddr(s)
		return a.Unmap(), 0
	}
	a, p := ip(have)
	b, q := ip(want)
	return a.IsValid() && a == b && (p == q || p == 0 || q == 0)
}

// Field is the value of a member of the line, without quotes; nil where it is
// missing, null or no scalar. It finds the first member of that name: only for
// names that stand in the outer object before any inner one that has them too.
// Escapes are undone.
func Field(raw []byte, name string) []byte {
	key := make([]byte, 0, 40)
	key = append(append(append(key, '"'), name...), '"', ':')
	// The bytes `"name":` cannot stand within a string: its quotes would be
	// escaped.
	i := bytes.Index(raw, key)
	if i < 0 {
		return slowField(raw, name)
	}
	i += len(key)
	if i >= len(raw) {
		return nil
	}
	switch c := raw[i]; {
	case c == '"':
		end, escaped := endOfString(raw, i+1)
		if end < 0 {
			return nil
		}
		if escaped {
			return slowField(raw, name)
		}
		return raw[i+1 : end]
	case c == 'n' || c == '{' || c == '[':
		return nil
	case c == ' ':
		return slowField(raw, name)
	}
	end := endOfScalar(raw, i)
	if end < 0 {
		return nil
	}
	return raw[i:end]
}

// slowField serves lines that were written with white space, or hold escapes.
func slowField(raw []byte, name string) []byte {
	if !bytes.Contains(raw, []byte(name)) {
		return nil
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return nil
	}
	value := all[name]
	if len(value) == 0 || value[0] == 'n' || value[0] == '{' || value[0] == '[' {
		return nil
	}
	var s string
	if value[0] == '"' && json.Unmarshal(value, &s) == nil {
		return []byte(s)
	}
	return value
}

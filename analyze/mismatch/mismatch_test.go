// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"plumbline/analyze"
	"plumbline/analyze/loggen"
	"plumbline/logs"
)

var update = flag.Bool("update", false, "write the golden files anew")

type fataler interface {
	Helper()
	Fatal(...any)
}

// judge analyses a folder.
func judge(t fataler, dir string, sel *analyze.Selector) *Report {
	t.Helper()
	r := analyze.Open([]string{dir}, analyze.Options{OnError: func(err error) { t.Fatal(err) }, OnBad: func(b analyze.Bad) { t.Fatal(b) }})
	defer r.Close()
	a := New(sel)
	for {
		l, err := r.Next()
		if err != nil {
			return a.Finish(r.Stats())
		}
		a.Line(l)
	}
}

// judgeLines analyses lines that stand in one file.
func judgeLines(t *testing.T, lines [][]byte) *Report {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "relay.log"), bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return judge(t, dir, nil)
}

func classes(rep *Report) []string {
	out := []string{}
	for _, f := range rep.Findings {
		out = append(out, string(f.Class))
	}
	return out
}

// relay is a simulated relay that has started and carried packets.
func relay(offload bool) *loggen.Relay {
	r := loggen.NewRelay("edge-1", "20261124T032212.120Z-4f21", loggen.Start, 7)
	r.Offload = offload
	r.Start("")
	r.Round(3)
	r.Round(3)
	return r
}

func stop(r *loggen.Relay) [][]byte {
	r.Stop()
	return r.Lines
}

func intended(generation uint32) logs.RouterConfig {
	return logs.RouterConfig{ABI: 1, Generation: generation, Enabled: true, UDPChecksum: true, LowestPort: 49152, HighestPort: 65535, ListenPorts: []uint16{3478}}
}

var ports = []logs.Difference{{Field: "lowest_port", Intended: 49152, Kernel: 0}, {Field: "highest_port", Intended: 65535, Kernel: 0}}

func drifted(r *loggen.Relay) logs.ConfigDrifted {
	no := false
	return logs.ConfigDrifted{Generation: 1, Intended: intended(1), Kernel: logs.RouterConfig{Valid: &no, ListenPorts: []uint16{}}, Diff: ports,
		DetectedBy: "periodic", LastGood: logs.Time{Time: r.Now.Add(-time.Second)}}
}

func route() logs.Route {
	return logs.Route{Allocation: "a-1", Client: address("198.51.100.4:40112"), Channel: 0x4000, Peer: address("192.0.2.9:9000"),
		Relayed: address("203.0.113.7:50012"), Paths: []string{"channel4>udp4", "udp4>channel4"}, Generation: 1, Expires: logs.Time{Time: loggen.Start.Add(time.Hour)}}
}

func address(s string) (a logs.Addr) {
	if err := json.Unmarshal([]byte(`"`+s+`"`), &a); err != nil {
		panic(err)
	}
	return a
}

// Logs without faults have no findings: any clients, any rotation, reloads, a
// crash, a start in the middle, a relay without offload, several relays.
func TestCleanLogsHaveNoFindings(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	nth := 0
	rapid.Check(t, func(t *rapid.T) {
		nth++
		dir := filepath.Join(base, fmt.Sprint(nth))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		var names []string
		previous, start := "", loggen.Start
		for i := range rapid.IntRange(1, 3).Draw(t, "runs") {
			r := loggen.NewRelay("edge-1", fmt.Sprintf("run-%d", i), start, rapid.Uint64().Draw(t, "seed"))
			r.Offload = rapid.Bool().Draw(t, "offload")
			r.FileLines = rapid.SampledFrom([]int{0, 7, 40, 200}).Draw(t, "file lines")
			r.Emit = func(name string, data []byte) {
				if name == "relay.log" {
					name = r.File() // the next run rotates it
				}
				names = append(names, name)
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r.Start(previous)
			for range rapid.IntRange(0, 8).Draw(t, "rounds") {
				r.Round(rapid.IntRange(0, 4).Draw(t, "clients"))
				if rapid.IntRange(0, 3).Draw(t, "reload") == 0 {
					r.Reconfigure(50000, uint16(rapid.IntRange(50100, 60000).Draw(t, "port")))
					if r.Offload && rapid.Bool().Draw(t, "observed at once") {
						r.Observe()
					} else if r.Offload {
						// In flight: the next packets, and the line about them,
						// may be an interval away.
						r.Round(1)
						r.Observe()
					}
				}
			}
			if rapid.Bool().Draw(t, "stops") {
				r.Stop()
			} else {
				r.Crash()
			}
			previous, start = r.File(), r.Now.Add(time.Second)
		}
		// The oldest files may be gone.
		for i := range rapid.IntRange(0, len(names)-1).Draw(t, "pruned") {
			if err := os.Remove(filepath.Join(dir, names[i])); err != nil {
				t.Fatal(err)
			}
		}
		rep := judge(t, dir, nil)
		if len(rep.Findings) > 0 {
			var text strings.Builder
			_ = rep.WriteText(&text, false)
			t.Fatal(text.String())
		}
	})
}

// What is in flight, or hidden, is not a finding.
func TestWhatTheLogCannotProve(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func() [][]byte{
		"an apply just before the end": func() [][]byte {
			r := relay(true)
			r.Reconfigure(50000, 50999)
			r.Round(3)
			r.Round(3)
			return r.Lines
		},
		"an apply without packets": func() [][]byte {
			r := relay(true)
			r.Reconfigure(50000, 50999)
			for range 5 {
				r.Counters(false)
			}
			return stop(r)
		},
		"an observation logged before its apply": func() [][]byte {
			r := relay(true)
			r.Line(logs.ConfigObserved{Generation: 2, CPU: 0, Packets: 1})
			r.Reconfigure(50000, 50999)
			for range 4 {
				r.Round(2)
			}
			return stop(r)
		},
		"a change of mode": func() [][]byte {
			r := relay(true)
			r.Line(logs.OffloadDetached{Interface: "eth0", Reason: "mode changes"})
			r.Line(logs.OffloadAttached{Interface: "eth0", Mode: "generic"})
			return stop(r)
		},
		"a route that waits for its next hop": func() [][]byte {
			r := relay(true)
			r.Line(logs.RouteFailed{Route: route(), Error: "next hop not resolved", Datapath: "userspace", Pending: true})
			return stop(r)
		},
		"a route that the router does not carry": func() [][]byte {
			r := relay(true)
			r.Line(logs.RouteFailed{Route: route(), Error: "hairpin", Datapath: "userspace", ByDesign: true})
			return stop(r)
		},
		"offload switched off": func() [][]byte {
			r := relay(true)
			r.Line(logs.OffloadDetached{Interface: "eth0", Reason: "config"})
			off := intended(2)
			off.Enabled = false
			r.Line(logs.ConfigApplied{Generation: 2, Intended: off})
			r.After(time.Hour)
			return stop(r)
		},
		"no kernel path, so no read-back": func() [][]byte { // told once, as what it is
			r := loggen.NewRelay("edge-1", "r", loggen.Start, 1)
			r.Offload = false
			r.Start("")
			r.Line(logs.ConfigApplied{Generation: 2, Intended: intended(2)})
			r.Line(logs.OffloadUnavailable{Interface: "eth0", Intended: true, Reason: "x", Consequence: "userspace"})
			return stop(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := classes(judgeLines(t, build()))
			got = slices.DeleteFunc(got, func(c string) bool {
				return c == string(OffloadUnavailable) && strings.HasPrefix(name, "no kernel path")
			})
			if len(got) > 0 {
				t.Errorf("found %v", got)
			}
		})
	}
}

// A hole may hide what an apply waits for: only the hole is told.
func TestHoleHidesObservation(t *testing.T) {
	t.Parallel()
	r := relay(true)
	r.Reconfigure(50000, 50999)
	r.Seq++
	for range 4 {
		r.Round(2)
	}
	if got := classes(judgeLines(t, stop(r))); !slices.Equal(got, []string{"log-hole"}) {
		t.Errorf("found %v", got)
	}
}

// A run whose file before is here, and of another run, began with its first
// line: what is missing before that is a hole.
func TestMissingStartOfAKnownRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := relay(true)
	name := first.File()
	second := loggen.NewRelay("edge-1", "20261124T040000.000Z-11aa", loggen.Start.Add(time.Hour), 2)
	second.Seq = 3 // its first three lines are gone
	second.Start(name)
	for file, lines := range map[string][][]byte{name: stop(first), "relay.log": stop(second)} {
		if err := os.WriteFile(filepath.Join(dir, file), bytes.Join(lines, nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rep := judge(t, dir, nil)
	if len(rep.Findings) != 1 || rep.Findings[0].Class != LogHole || rep.Findings[0].Missing[0] != (analyze.Interval{First: 1, Last: 3}) {
		t.Errorf("found %+v", classes(rep))
	}
	// Without that file it is only a log that begins in the middle.
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	rep = judge(t, dir, nil)
	if len(rep.Findings) != 0 || len(rep.Notes) != 1 {
		t.Errorf("found %v, notes %q", classes(rep), rep.Notes)
	}
}

// Effects are counted between the counters before the config was last right
// and those behind the repair.
func TestEffectOfDrift(t *testing.T) {
	t.Parallel()
	l := loggen.NewLog("edge-1", "r", loggen.Start)
	sums := func(relayed, unset uint64) logs.DatapathCounters {
		return logs.DatapathCounters{Kernel: &logs.KernelCounters{Counters: logs.Counters{Received: relayed + unset, Relayed: relayed, Passed: unset,
			Reasons: map[string]uint64{"channel4>udp4": relayed, "config_unset": unset}}}, Userspace: logs.UserspaceCounters{Counters: logs.Counters{Received: unset, Relayed: unset, Reasons: map[string]uint64{"channel": unset}}}}
	}
	l.Add(sums(1000, 0)).After(500 * time.Millisecond)
	good := l.Now
	l.After(time.Second).Add(sums(1100, 200)) // just before the drift is logged: too late for a base
	no := false
	l.Add(logs.ConfigDrifted{Generation: 1, Intended: intended(1), Kernel: logs.RouterConfig{Valid: &no}, Diff: ports, LastGood: logs.Time{Time: good}})
	l.Add(logs.ConfigRepaired{Generation: 1, Verified: true}, sums(1100, 212))
	l.After(10 * time.Second).Add(sums(2000, 212))
	rep := judgeLines(t, l.Lines)
	if len(rep.Findings) != 1 {
		t.Fatal(classes(rep))
	}
	e := rep.Findings[0].Effect
	if e == nil || e.Reasons["config_unset"] != 212 || e.Lost != 0 || e.Reasons["channel4>udp4"] != 100 ||
		e.Text != "212 packets passed up as config_unset in that time, 0 lost" {
		t.Errorf("effect %+v", e)
	}
	if got := rep.Findings[0].From; !got.Equal(good) {
		t.Errorf("from %v, want when it was last good, %v", got, good)
	}
}

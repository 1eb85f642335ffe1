// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"plumbline/logs"
)

// Each class: the log that has it, and the same log without its cause.
func TestEachClass(t *testing.T) {
	t.Parallel()
	no, yes := false, true
	for _, c := range []struct {
		name  string
		build func(with bool) [][]byte
		want  []string
		text  []string // what the report must say
	}{
		{"config drift, repaired", func(with bool) [][]byte {
			r := relay(true)
			if with {
				r.Counters(false)
				r.Line(drifted(r))
				r.Line(logs.ConfigRepaired{Generation: 1, Kernel: intended(1), Verified: true})
				r.Counters(false)
			}
			return stop(r)
		}, []string{"config-drift"}, []string{"lowest_port 49152  highest_port 65535", "lowest_port 0      highest_port 0", "0 lost", "(intended)", "(drift)", "(repaired)"}},
		{"config drift, standing", func(with bool) [][]byte {
			r := relay(true)
			if with {
				r.Line(drifted(r))
				r.Line(logs.ConfigRepaired{Generation: 1, Kernel: intended(0), Verified: false})
			}
			return stop(r)
		}, []string{"config-drift"}, []string{"(stands)", "(repair failed)"}},
		{"route drift, repaired", func(with bool) [][]byte {
			r := relay(true)
			if with {
				for _, direction := range []string{"to_peer", "to_client"} {
					r.Line(logs.RouteDrifted{Class: "missing", Route: route(), Direction: direction, Intended: &logs.RouteSide{Key: "k"}, Diff: []logs.Difference{}})
				}
				r.Line(logs.RouteRepaired{Route: route(), Class: "missing", Verified: true})
			}
			return stop(r)
		}, []string{"route-drift"}, []string{"missing from the kernel: a-1 channel 0x4000", "(repaired)"}},
		{"route drift, unexpected and standing", func(with bool) [][]byte {
			r := relay(true)
			if with {
				r.Line(logs.RouteDrifted{Class: "unexpected", Kernel: &logs.RouteSide{Key: "198.51.100.9:1 → 203.0.113.7:3478"}, Diff: []logs.Difference{}})
			}
			return stop(r)
		}, []string{"route-drift"}, []string{"nobody had asked for: 198.51.100.9:1", "(stands)"}},
		{"apply not verified", func(with bool) [][]byte {
			r := relay(true)
			e := logs.ConfigApplied{Generation: 2, Intended: intended(2), Kernel: &logs.RouterConfig{}, Verified: &no, Diff: ports}
			if !with {
				e.Verified, e.Diff = &yes, nil
			}
			r.Line(e)
			return stop(r)
		}, []string{"apply-not-verified"}, []string{"config 2", "lowest_port 0"}},
		{"apply not read back at all", func(with bool) [][]byte {
			r := relay(true)
			e := logs.ConfigApplied{Generation: 2, Intended: intended(2)}
			e.Intended.Enabled = with
			r.Line(e)
			return stop(r)
		}, []string{"apply-not-verified"}, []string{"was not read back"}},
		{"apply never observed", func(with bool) [][]byte {
			r := relay(true)
			r.Reconfigure(50000, 50999)
			r.Round(3)
			r.Round(3)
			if !with {
				r.Observe()
			}
			r.Round(3)
			return stop(r)
		}, []string{"apply-never-observed"}, []string{"config 2", "(still not observed)"}},
		{"rolled back", func(with bool) [][]byte {
			r := relay(true)
			if with {
				r.Line(logs.ConfigRolledBack{Generation: 2, KeptGeneration: 1, Step: "flip", Error: "operation not permitted"})
			}
			return stop(r)
		}, []string{"rolled-back"}, []string{"flip: operation not permitted"}},
		{"lines missing", func(with bool) [][]byte {
			lines := stop(relay(true))
			if with {
				lines = slices.Delete(lines, 10, 13)
			}
			return lines
		}, []string{"log-hole"}, []string{"3 lines of the run missing, and no line says why: seq 11 to 13"}},
		{"lines dropped", func(with bool) [][]byte {
			r := relay(true)
			if with {
				r.Seq += 2
				r.Line(logs.Dropped{Count: 2, FirstSeq: r.Seq - 1, LastSeq: r.Seq, Reason: "queue_full"})
			}
			return stop(r)
		}, []string{"log-hole"}, []string{"2 lines that the relay could not write", "(dropped: queue_full)"}},
		{"first lines missing", func(with bool) [][]byte {
			lines := stop(relay(true))
			if with {
				lines = lines[4:]
			}
			return lines
		}, []string{"log-hole"}, []string{"seq 1 to 4"}},
		{"offload unavailable", func(with bool) [][]byte {
			r := relay(false)
			if with {
				r.Line(logs.OffloadUnavailable{Interface: "eth0", Intended: true, Reason: "no such device", Consequence: "userspace"})
			}
			return stop(r)
		}, []string{"offload-unavailable"}, []string{"eth0", "no such device"}},
		{"offload lost on the way", func(with bool) [][]byte {
			r := relay(true)
			if with {
				r.Line(logs.OffloadDetached{Interface: "eth0", Reason: "link replaced"})
			}
			r.After(time.Minute)
			r.Round(3)
			return stop(r)
		}, []string{"offload-unavailable"}, []string{"link replaced"}},
		{"frames swallowed", func(with bool) [][]byte {
			r := relay(true)
			if with {
				r.Line(logs.OffloadTransmitFailing{Interface: "veth0", Mode: "native", TxErrors: 12, Consequence: "generic"})
				r.Line(logs.OffloadDetached{Interface: "veth0", Reason: "transmit errors"})
				r.Line(logs.OffloadAttached{Interface: "veth0", Mode: "generic"})
			}
			return stop(r)
		}, []string{"transmit-failing"}, []string{"12 packets lost"}},
		{"relayed in user space", func(with bool) [][]byte {
			r := relay(with)
			for i := range 5 {
				rt := route()
				rt.Allocation = fmt.Sprintf("x-%d", i)
				r.Line(logs.RouteFailed{Route: rt, Error: "the routes map is full", Datapath: "userspace"})
			}
			return stop(r)
		}, []string{"userspace-route"}, []string{"5 times", "map is full"}},
		{"sums differ", func(with bool) [][]byte {
			r := relay(true)
			if with {
				id := "a-1"
				r.Line(logs.RouteDecision{Allocation: &id, Direction: "to_peer", Datapath: "kernel", Verdict: "relay", Packets: 5})
			}
			return stop(r)
		}, []string{"sums-differ"}, []string{"- decisions", "+ counters", "relayed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rep := judgeLines(t, c.build(true))
			var text strings.Builder
			if err := rep.WriteText(&text, false); err != nil {
				t.Fatal(err)
			}
			if got := classes(rep); !slices.Equal(got, c.want) {
				t.Fatalf("found %v, want %v\n%s", got, c.want, text.String())
			}
			for _, want := range append(c.text, "evidence    relay.log:") {
				if !strings.Contains(text.String(), want) {
					t.Errorf("the report does not say %q:\n%s", want, text.String())
				}
			}
			if rep := judgeLines(t, c.build(false)); len(rep.Findings) > 0 {
				text.Reset()
				_ = rep.WriteText(&text, false)
				t.Errorf("without its cause:\n%s", text.String())
			}
		})
	}
}

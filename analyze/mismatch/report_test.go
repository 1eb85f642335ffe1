// SPDX-License-Identifier: Apache-2.0

package mismatch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"plumbline/analyze"
	"plumbline/logs"
)

func selector(t *testing.T, sel analyze.Selection) *analyze.Selector {
	t.Helper()
	s, err := analyze.NewSelector(sel)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A selection leaves findings out, but not what explains them.
func TestSelectionOfFindings(t *testing.T) {
	t.Parallel()
	r := relay(true)
	at := r.Now
	r.Line(logs.RouteDrifted{Class: "missing", Route: route(), Direction: "to_peer", Diff: []logs.Difference{}})
	r.Line(logs.RouteRepaired{Route: route(), Class: "missing", Verified: true})
	r.After(time.Minute)
	r.Line(drifted(r))
	lines := stop(r)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "relay.log"), bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		sel  analyze.Selection
		want []string
	}{
		{analyze.Selection{}, []string{"route-drift", "config-drift"}},
		{analyze.Selection{Until: at.Add(30 * time.Second)}, []string{"route-drift"}},
		{analyze.Selection{Since: at.Add(30 * time.Second)}, []string{"config-drift"}},
		{analyze.Selection{Event: "route.*"}, []string{"route-drift"}},
		{analyze.Selection{Client: "198.51.100.4"}, []string{"route-drift"}},
		{analyze.Selection{Client: "198.51.100.5"}, []string{}},
		{analyze.Selection{Allocation: "a-1"}, []string{"route-drift"}},
		{analyze.Selection{Severity: logs.Error}, []string{}},
	} {
		if got := classes(judge(t, dir, selector(t, c.sel))); !slices.Equal(got, c.want) {
			t.Errorf("%+v: found %v, want %v", c.sel, got, c.want)
		}
	}
}

// Effects of findings that are told as one add up.
func TestEffectsOfAGroup(t *testing.T) {
	t.Parallel()
	r := relay(true)
	for range 2 {
		r.Line(logs.OffloadTransmitFailing{Interface: "veth0", Mode: "native", TxErrors: 12, Consequence: "generic"})
	}
	rep := judgeLines(t, stop(r))
	if len(rep.Findings) != 1 || rep.Findings[0].Count != 2 || rep.Findings[0].Effect.Text != "24 packets lost" {
		t.Errorf("%+v", rep.Findings)
	}
}

// Another verified apply ends drift too.
func TestApplyEndsDrift(t *testing.T) {
	t.Parallel()
	r := relay(true)
	r.Line(drifted(r))
	r.Reconfigure(50000, 50999)
	r.Counters(false)
	rep := judgeLines(t, stop(r))
	if len(rep.Findings) != 1 || rep.Findings[0].Standing || rep.Findings[0].Effect == nil {
		t.Errorf("%+v", rep.Findings)
	}
}

func TestManyAlikeAreOne(t *testing.T) {
	t.Parallel()
	r := relay(true)
	for i := range 40 {
		rt := route()
		rt.Allocation = fmt.Sprintf("x-%d", i)
		r.Line(logs.RouteDrifted{Class: "missing", Route: rt, Direction: "to_peer", Diff: []logs.Difference{}})
		r.Line(logs.RouteRepaired{Route: rt, Class: "missing", Verified: true})
	}
	rep := judgeLines(t, stop(r))
	if len(rep.Findings) != 1 || rep.Findings[0].Count != 40 || len(rep.Findings[0].Evidence) != maxEvidence || rep.Findings[0].MoreEvidence != 80-maxEvidence {
		t.Errorf("%+v", rep.Findings)
	}
}

func TestGoldenReport(t *testing.T) {
	t.Parallel()
	r := relay(true)
	r.Counters(false)
	r.Line(drifted(r))
	r.Line(logs.ConfigRepaired{Generation: 1, Kernel: intended(1), Verified: true})
	r.Counters(false)
	r.Line(logs.RouteDrifted{Class: "different", Route: route(), Direction: "to_peer", Intended: &logs.RouteSide{}, Kernel: &logs.RouteSide{},
		Diff: []logs.Difference{{Field: "dst_mac", Intended: "02:00:00:00:00:01", Kernel: "02:00:00:00:00:02"}}})
	r.Line(logs.ConfigRolledBack{Generation: 2, KeptGeneration: 1, Step: "write slot", Error: "operation not permitted"})
	rep := judgeLines(t, slices.Delete(stop(r), 30, 31))
	var text, js bytes.Buffer
	if err := rep.WriteText(&text, false); err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(&js)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(rep); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", text.Bytes())
	golden(t, "report.json", js.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", path, got)
	}
}

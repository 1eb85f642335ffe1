// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want spread
		text string
	}{
		{[]float64{3, 1, 2}, spread{2, 1, 3}, "2.0 (1.0–3.0)"},
		{[]float64{4, 1, 2, 3}, spread{2.5, 1, 4}, "2.5 (1.0–4.0)"},
		{[]float64{math.NaN(), 5, math.Inf(1)}, spread{5, 5, 5}, "5.0 (5.0–5.0)"},
	} {
		got := spreadOf(c.in)
		if got != c.want || got.text("%.1f") != c.text {
			t.Errorf("%v: %v, %s", c.in, got, got.text("%.1f"))
		}
	}
	if got := spreadOf(nil).text("%.1f"); got != "–" {
		t.Errorf("nothing: %s", got)
	}
}

func TestQuantiles(t *testing.T) {
	var times []time.Duration
	for i := range 1000 {
		times = append(times, time.Duration(1000-i)) // 1 to 1000, downwards
	}
	if got := quantilesOf(times); got != (quantiles{501, 991}) {
		t.Errorf("got %v", got)
	}
	if got := quantilesOf(nil); got != (quantiles{}) {
		t.Errorf("of nothing: %v", got)
	}
}

func someResults() results {
	us := func(cpu, rt float64, rate float64) figures {
		return figures{CPU: time.Duration(cpu * 1e3), RoundTrip: quantiles{P50: time.Duration(rt * 1e3)}, ToPeer: rate, ToClients: rate}
	}
	return results{
		direct: {us(5, 20, 400e3), us(50, 20, 400e3)},
		kernel: {us(7, 30, 200e3), us(54, 30, 200e3)},
		coturn: {us(15, 100, 80e3), us(70, 100, 120e3)},
	}
}

// Net figures and ratios are made within a round: a machine that is ten times
// slower in one of them changes no ratio.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	r := someResults()
	if got := ratios(r.net(kernel, cpuOf), r.net(coturn, cpuOf)); got[0] != 0.2 || got[1] != 0.2 {
		t.Errorf("net CPU ratios %v, want 0.2 twice", got)
	}
	if got := spreadOf(ratios(r.values(kernel, toPeerOf), r.values(coturn, toPeerOf))); math.Abs(got.median-(200.0/80+200.0/120)/2) > 1e-9 {
		t.Errorf("packets/s %v", got)
	}
	if got := ratios([]float64{1}, []float64{0}); !math.IsNaN(got[0]) {
		t.Errorf("a ratio to nothing is %v", got)
	}
}

func TestReport(t *testing.T) {
	var b bytes.Buffer
	r := someResults()
	r.report(&b, loadOptions{payload: 1000, rate: 20000, pings: 1000, loss: 0.01})
	r.goals(&b)
	for _, want := range []string{
		"| kernel | 30.50 (7.00–54.00) | 3.00 (2.00–4.00) | 0.20 (0.20–0.20) |",
		"CPU time per relayed packet, net: 0.20 × coturn, goal ≤ 0.40: reached",
		"most packets/s to the peer: 2.08 × coturn, goal ≥ 2.00: reached",
		"round trip, p50: 0.30 × coturn, goal ≤ 0.25: NOT reached",
		"less the wire's: 0.12 × coturn",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "| pion |") {
		t.Error("a contestant without figures has a row")
	}
}

func TestBenchmarkRows(t *testing.T) {
	rows := benchmarkRows([]byte("goos: linux\nBenchmarkRouter/channel_to_udp-2   \t 4938\t       112.0 ns/packet\t       926.0 instructions\nPASS\n"))
	if len(rows) != 1 || !strings.HasPrefix(rows[0], "| Router/channel_to_udp |") || !strings.Contains(rows[0], "112.0 ns/packet") {
		t.Errorf("got %q", rows)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// spread is a median with what it is the median of.
type spread struct{ median, least, most float64 }

// spreadOf summarises; without values it is all NaN. Values that are not
// numbers, as ratios to nothing are not, are left out.
func spreadOf(values []float64) spread {
	v := slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
	if len(v) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	slices.Sort(v)
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (m + v[len(v)/2-1]) / 2
	}
	return spread{m, v[0], v[len(v)-1]}
}

// text prints a spread with a unit's digits: median (least–most).
func (s spread) text(format string) string {
	if math.IsNaN(s.median) {
		return "–"
	}
	f := func(x float64) string { return fmt.Sprintf(format, x) }
	return fmt.Sprintf("%s (%s–%s)", f(s.median), f(s.least), f(s.most))
}

// results are the figures of all rounds, by contestant.
type results map[string][]figures

// values is one figure of a contestant, a value a round.
func (r results) values(name string, of func(figures) float64) []float64 {
	var out []float64
	for _, f := range r[name] {
		out = append(out, of(f))
	}
	return out
}

// net is a figure less what it is without a relay, in the same round.
func (r results) net(name string, of func(figures) float64) []float64 {
	out := r.values(name, of)
	for i, without := range r.values(direct, of) {
		if i < len(out) {
			out[i] -= without
		}
	}
	return out
}

// ratios divides round by round.
func ratios(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		if b[i] <= 0 {
			out = append(out, math.NaN())
			continue
		}
		out = append(out, a[i]/b[i])
	}
	return out
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func cpuOf(f figures) float64         { return microseconds(f.CPU) }
func roundTripOf(f figures) float64   { return microseconds(f.RoundTrip.P50) }
func roundTrip99Of(f figures) float64 { return microseconds(f.RoundTrip.P99) }
func toPeerOf(f figures) float64      { return f.ToPeer }
func toClientsOf(f figures) float64   { return f.ToClients }
func foreignOf(f figures) float64     { return f.Foreign }
func lossOf(f figures) float64        { return f.Loss }

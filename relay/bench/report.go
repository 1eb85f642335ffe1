// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// order is that of the tables.
var order = []string{direct, floor, kernel, userspace, coturn, pion}

// column is one figure in a table.
type column struct {
	title  string
	format string
	of     func(results, string) []float64
	ratio  bool // to coturn, rather than itself
}

func plain(of func(figures) float64) func(results, string) []float64 {
	return func(r results, name string) []float64 { return r.values(name, of) }
}

func lessDirect(of func(figures) float64) func(results, string) []float64 {
	return func(r results, name string) []float64 { return r.net(name, of) }
}

// table prints a Markdown table of medians (least–most) of the rounds.
func (r results) table(w io.Writer, columns []column) {
	head, rule := "| |", "| --- |"
	for _, c := range columns {
		head += " " + c.title + " |"
		rule += " ---: |"
	}
	fmt.Fprintf(w, "%s\n%s\n", head, rule)
	for _, name := range order {
		if len(r[name]) == 0 {
			continue
		}
		row := "| " + name + " |"
		for _, c := range columns {
			values := c.of(r, name)
			if c.ratio {
				values = ratios(values, c.of(r, coturn))
			}
			row += " " + spreadOf(values).text(c.format) + " |"
		}
		fmt.Fprintln(w, row)
	}
	fmt.Fprintln(w)
}

// report prints what the rounds gave.
func (r results) report(w io.Writer, o loadOptions) {
	fmt.Fprintf(w, "Rounds: %d; medians (least–most); ratios are medians of the rounds' own ratios. %d clients with a channel each, %d bytes a datagram at the peer.\n\n",
		len(r[coturn]), clients, o.payload)
	fmt.Fprintf(w, "CPU time of the whole machine per relayed packet at %.0f packets/s, to the peer and then to the clients; net: less the time of the same load without a relay, in the same round\n\n", o.rate)
	r.table(w, []column{
		{"raw, µs", "%.2f", plain(cpuOf), false},
		{"net, µs", "%.2f", lessDirect(cpuOf), false},
		{"net, × coturn", "%.2f", lessDirect(cpuOf), true},
		{"lost, %", "%.2f", plain(func(f figures) float64 { return 100 * lossOf(f) }), false},
		{"CPUs used by others", "%.2f", plain(foreignOf), false},
	})
	fmt.Fprintf(w, "Most packets/s with at most %.1f %% lost, one way at a time\n\n", 100*o.loss)
	r.table(w, []column{
		{"to the peer, thousands/s", "%.0f", plain(func(f figures) float64 { return toPeerOf(f) / 1000 }), false},
		{"× coturn", "%.2f", plain(toPeerOf), true},
		{"to the clients, thousands/s", "%.0f", plain(func(f figures) float64 { return toClientsOf(f) / 1000 }), false},
		{"× coturn", "%.2f", plain(toClientsOf), true},
	})
	fmt.Fprintf(w, "Round trip through the relay and back, one at a time, %.0f/s: the client never sleeps, the peer answers in its driver\n\n", o.pings)
	r.table(w, []column{
		{"p50, µs", "%.1f", plain(roundTripOf), false},
		{"p99, µs", "%.1f", plain(roundTrip99Of), false},
		{"p50, × coturn", "%.2f", plain(roundTripOf), true},
		{"p50 net, × coturn", "%.2f", lessDirect(roundTripOf), true},
		{"p99, × coturn", "%.2f", plain(roundTrip99Of), true},
	})
}

// goals compares the kernel path with what it was built to reach.
func (r results) goals(w io.Writer) {
	ratio := func(of func(results, string) []float64) float64 {
		return spreadOf(ratios(of(r, kernel), of(r, coturn))).median
	}
	goal := func(what string, got, want float64, less bool) {
		verdict := "reached"
		if math.IsNaN(got) {
			verdict = "not measured"
		} else if less && got > want || !less && got < want {
			verdict = "NOT reached"
		}
		sign := "≥"
		if less {
			sign = "≤"
		}
		fmt.Fprintf(w, "- %s: %.2f × coturn, goal %s %.2f: %s\n", what, got, sign, want, verdict)
	}
	goal("CPU time per relayed packet, net", ratio(lessDirect(cpuOf)), 0.4, true)
	goal("most packets/s to the peer", ratio(plain(toPeerOf)), 2, false)
	goal("most packets/s to the clients", ratio(plain(toClientsOf)), 2, false)
	goal("round trip, p50", ratio(plain(roundTripOf)), 0.25, true)
	fmt.Fprintf(w, "- of which the relay's part, less the wire's: %.2f × coturn; without any relay: %.2f ×\n",
		ratio(lessDirect(roundTripOf)), spreadOf(ratios(r.values(direct, roundTripOf), r.values(coturn, roundTripOf))).median)
	above := func(of func(results, string) []float64) float64 {
		return spreadOf(ratios(of(r, kernel), of(r, floor))).median
	}
	fmt.Fprintf(w, "- The kernel path against the floor, which is the least that XDP needs here: CPU time net %.2f ×, round trip p50 %.2f ×, packets/s to the peer %.2f ×, to the clients %.2f ×\n\n",
		above(lessDirect(cpuOf)), above(plain(roundTripOf)), above(plain(toPeerOf)), above(plain(toClientsOf)))
}

// machine says where the figures are from.
func machine(w io.Writer) {
	var u unix.Utsname
	release := "unknown"
	if unix.Uname(&u) == nil {
		release = unix.ByteSliceToString(u.Release[:])
	}
	cpu := "unknown CPU"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(info) {
			if key, value, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(key) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	average, _, _ := strings.Cut(string(load), " ")
	fmt.Fprintf(w, "Linux %s %s, %d CPUs (%s), %s, load average at the start %s\n\n", release, runtime.GOARCH, runtime.NumCPU(), cpu, runtime.Version(), average)
}

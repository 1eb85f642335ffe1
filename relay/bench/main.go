// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"plumbline/relay/testbed"
)

// limit is how long all of it may take.
const limit = 15 * time.Minute

func main() {
	// The program is its own pion/turn server, in a namespace of the bed.
	if len(os.Args) == 6 && os.Args[1] == pion {
		listen, err := netip.ParseAddrPort(os.Args[2])
		if err == nil {
			err = servePion(listen, os.Args[3], os.Args[4], os.Args[5])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench pion:", err)
			os.Exit(1)
		}
		return
	}
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the command line.
type settings struct {
	load    loadOptions
	parts   string
	analyze string
	logSize int64
	repeat  int
}

func parse(args []string, errs io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errs)
	short := f.Bool("short", false, "one round of everything, briefly: does it run, not how fast")
	f.StringVar(&s.parts, "parts", "relays,router,timeline", "which parts to run, separated by commas")
	f.IntVar(&s.load.rounds, "rounds", 4, "rounds of the relays, 1 to 100")
	f.IntVar(&s.load.payload, "payload", 1000, "bytes of a datagram at the peer, 16 to 1400")
	f.Float64Var(&s.load.rate, "rate", 20000, "packets a second for CPU time, 100 to 1000000")
	f.Float64Var(&s.load.pings, "pings", 1000, "round trips a second for latency, 10 to 100000")
	f.DurationVar(&s.load.interval, "interval", 2500*time.Millisecond, "how long CPU time and latency are taken, 100ms to 1m; CPU time once each way")
	f.StringVar(&s.load.binary, "relay", "bin/relay", "the relay to measure")
	f.StringVar(&s.analyze, "analyze", "bin/analyze", "the analyser to measure")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.load.trial, s.load.steps, s.load.loss = 400*time.Millisecond, 6, 0.01
	s.logSize, s.repeat = 300e6, 3
	if *short {
		s.load.rounds, s.load.interval, s.load.trial, s.load.steps = 1, 500*time.Millisecond, 100*time.Millisecond, 3
		s.logSize, s.repeat = 30e6, 1
	}
	for _, b := range []struct {
		name      string
		got       float64
		low, high float64
	}{
		{"rounds", float64(s.load.rounds), 1, 100},
		{"payload", float64(s.load.payload), stampSize, 1400},
		{"rate", s.load.rate, 100, 1e6},
		{"pings", s.load.pings, 10, 1e5},
		{"interval (in seconds)", s.load.interval.Seconds(), 0.1, 60},
	} {
		if !(b.got >= b.low && b.got <= b.high) {
			return s, fmt.Errorf("-%s is %g, want %g to %g", b.name, b.got, b.low, b.high)
		}
	}
	for part := range strings.SplitSeq(s.parts, ",") {
		if part != "relays" && part != "router" && part != "timeline" {
			return s, fmt.Errorf("-parts: there is no part %q; there are relays, router, timeline", part)
		}
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return s, nil
}

func (s settings) has(part string) bool {
	return strings.Contains(","+s.parts+",", ","+part+",")
}

// ready says all that is missing at once.
func (s settings) ready() error {
	var errs []error
	need := func(program, where string) {
		if _, err := exec.LookPath(program); err != nil {
			errs = append(errs, fmt.Errorf("%s is not there: %s", program, where))
		}
	}
	if s.has("relays") || s.has("router") {
		if err := testbed.Available(); err != nil {
			errs = append(errs, fmt.Errorf("must run as root: %w", err))
		}
	}
	if s.has("relays") {
		need("turnserver", "install coturn (`make tools`, or apt-get install coturn)")
		need(s.load.binary, "run `make build`")
	}
	if s.has("timeline") {
		need("jq", "install jq (`make tools`, or apt-get install jq)")
		need(s.analyze, "run `make build`")
	}
	return errors.Join(errs...)
}

func run(args []string, out, errs io.Writer) error {
	s, err := parse(args, errs)
	if err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	progress := func(what string) { fmt.Fprintf(errs, "%4.0fs  %s\n", time.Since(start).Seconds(), what) }
	machine(out)
	if s.has("relays") {
		if err := urgent(func() error { return relays(ctx, out, progress, s.load) }); err != nil {
			return err
		}
	}
	if s.has("router") {
		if err := router(ctx, out, progress); err != nil {
			return err
		}
	}
	if s.has("timeline") {
		if err := timelines(ctx, out, progress, s.analyze, s.logSize, s.repeat); err != nil {
			return err
		}
	}
	progress("done")
	return nil
}

// relays lets the contestants take turns.
func relays(ctx context.Context, out io.Writer, progress func(string), o loadOptions) (err error) {
	progress("making a test bed, starting the relays")
	s, err := startScene(ctx, o, order)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	got := results{}
	for round := range o.rounds {
		for i := range s.contestants {
			c := s.contestants[(round+i)%len(s.contestants)]
			f, err := s.measure(ctx, c)
			if err != nil {
				return err
			}
			got[c.name] = append(got[c.name], f)
			progress(fmt.Sprintf("round %d of %d: %-9s CPU %5.2f µs a packet, to the peer %4.0f k/s, to the clients %4.0f k/s, round trip %4.0f µs",
				round+1, o.rounds, c.name, cpuOf(f), f.ToPeer/1e3, f.ToClients/1e3, roundTripOf(f)))
		}
	}
	share, relayed, err := s.kernelShare()
	if err != nil {
		return err
	}
	got.report(out, o)
	fmt.Fprintf(out, "By the relay's own log, its router carried %.2f %% of the %d data packets that it relayed as %s.\n\n", 100*share, relayed, kernel)
	got.goals(out)
	return nil
}

// SPDX-License-Identifier: Apache-2.0

// Command demo plays, on network namespaces of this machine alone, what
// Plumbline is for: the real relay carries coturn's traffic in the kernel, takes
// a new config while packets flow, and has its kernel config wiped behind its
// back. Each act checks what it says, against coturn's counts and against the
// relay's log, and the demo exits 1 where anything does not hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// patience bounds the whole demo, so that it ends even where a step hangs. It
// takes about half a minute.
const patience = 2 * time.Minute

func main() {
	bin := flag.String("bin", "bin", "folder with the relay and analyze binaries (make build)")
	keep := flag.String("keep", "", "folder to keep config and log in, instead of removing them at the end")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Plays Plumbline's story on this machine, in network namespaces of its own. Needs root.\n\nUsage: demo [--keep DIR] [--bin DIR]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	// SIGPIPE too: a reader that goes away (demo | head) must not leave
	// namespaces behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	os.Exit(play(ctx, *bin, *keep))
}

// play runs the acts and cleans up. It returns the exit code: 0 all held, 1
// something did not, 130 interrupted.
func play(ctx context.Context, bin, keep string) int {
	if err := needed(bin); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	err := acts(ctx, narrator{os.Stdout}, bin, keep)
	switch {
	case err == nil:
		return 0
	case errors.Is(ctx.Err(), context.Canceled):
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted")
		return 130
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("not done within %s: %w", patience, err)
	}
	fmt.Fprintf(os.Stderr, "\ndemo: FAILED: %v\n", err)
	if keep == "" {
		fmt.Fprintln(os.Stderr, "demo: run it with --keep DIR to have the log afterwards")
	}
	return 1
}

// acts opens the set, plays the acts on it and closes it, whatever happens. What
// could not be removed is a failure too.
func acts(ctx context.Context, say narrator, bin, keep string) (err error) {
	say.line("Plumbline: a TURN relay that proves what its kernel is doing")
	s, err := open(ctx, say, bin, keep)
	if err != nil {
		return err
	}
	defer func() {
		shut := s.close()
		if shut == nil && err == nil {
			say.line(s.farewell())
		}
		err = errors.Join(err, shut)
	}()
	for _, act := range []func() error{s.attach, s.relayTraffic, s.reload, s.incident, s.readLog} {
		if err := act(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

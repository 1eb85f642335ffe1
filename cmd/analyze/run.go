// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// Exit codes, as of a comparison: nothing found, something found, an error.
const (
	exitSame   = 0
	exitError  = 1
	exitDiffer = 2
)

// errFound says that everything went well and that there are findings.
var errFound = errors.New("findings")

// command is the command line.
type command struct {
	Timeline   timelineCommand   `cmd:"" help:"Print what happened, one line per event."`
	Mismatches mismatchesCommand `cmd:"" help:"Find where the kernel did other than intended, and holes in the log. Exit code 2 if there are any."`
	Summary    summaryCommand    `cmd:"" help:"Print what happened at a glance: runs, configs, allocations, traffic, drops, findings."`
	Filters    filtersCommand    `cmd:"" help:"List the embedded jq filters, or print one, ready for jq -n -r -f."`
	Filter     filterCommand     `cmd:"" help:"Run a jq filter over the lines of the log, in order."`
}

// streams is what a command talks through.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run is the whole program but for the process around it.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var cli command
	exit := -1
	parser, err := kong.New(&cli,
		kong.Name("analyze"),
		kong.Description("Reads the logs of plumbline relays. LOG is a log folder, a file (plain, .gz or .zst), or - for stdin; several are merged by time."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.WithHyphenPrefixedParameters(true),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(stderr, "analyze:", err)
		return exitError
	}
	ctx, err := parser.Parse(args)
	if exit >= 0 { // --help has been printed
		return exit
	}
	if err != nil {
		fmt.Fprintf(stderr, "analyze: %v (see analyze --help)\n", err)
		return exitError
	}
	err = ctx.Run(&streams{stdin, stdout, stderr})
	switch {
	case errors.Is(err, errFound):
		return exitDiffer
	case err != nil:
		fmt.Fprintln(stderr, "analyze:", err)
		return exitError
	}
	return exitSame
}

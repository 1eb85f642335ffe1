// SPDX-License-Identifier: Apache-2.0

// Command relay is the Plumbline relay's command line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"plumbline/relay"
	"plumbline/relay/config"
)

// commands is the command line: a field a command.
type commands struct {
	Run     runCommand     `cmd:"" help:"Run the relay."`
	Check   checkCommand   `cmd:"" help:"Validate a config file: FILE:LINE:COL: message for each problem."`
	Status  statusCommand  `cmd:"" help:"Show what is intended beside what the kernel holds."`
	Probe   probeCommand   `cmd:"" help:"Check a relay end to end from outside."`
	Load    loadCommand    `cmd:"" help:"Load a relay over many allocations and account for every packet."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// exitCode ends the process with a code and nothing more to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		var code exitCode
		if errors.As(err, &code) {
			os.Exit(int(code))
		}
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
}

// surroundings are what commands write to.
type surroundings struct{ out, err io.Writer }

func run(args []string, out, errs io.Writer) error {
	var cli commands
	ended := exitCode(-1)
	parser, err := kong.New(&cli, kong.Name("relay"),
		kong.Description("Plumbline: a STUN/TURN relay that proves what its kernel is doing."),
		kong.Writers(out, errs), kong.UsageOnError(),
		kong.Exit(func(code int) { ended = exitCode(code) }))
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if ended >= 0 { // --help printed all there was to say
		return ended
	}
	if err != nil {
		return fmt.Errorf("%w (relay --help lists commands and flags)", err)
	}
	return command.Run(&surroundings{out, errs})
}

type runCommand struct {
	Config string `help:"Config file to run and watch. Without it: an embedded default on loopback, no root needed." placeholder:"FILE" type:"path"`
}

// Run serves until SIGINT or SIGTERM; SIGHUP reloads the config file.
func (c *runCommand) Run(s *surroundings) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	return relay.Run(ctx, relay.Options{ConfigFile: c.Config, Console: s.err, Reload: reload})
}

type checkCommand struct {
	File string `arg:"" help:"Config file."`
}

// Run validates a file; exit 0 or 1.
func (c *checkCommand) Run(s *surroundings) error {
	if code := config.Check(s.out, c.File); code != 0 {
		return exitCode(code)
	}
	return nil
}

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(s *surroundings) error {
	_, err := fmt.Fprintln(s.out, "plumbline", relay.Version)
	return err
}

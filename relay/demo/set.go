// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"plumbline/relay"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// The port ranges before and after the reload. The relay starts with the
// defaults, written out so that the edit shows both.
const (
	portsBefore = "49152-65535"
	portsAfter  = "50000-50999"
)

// set is what the demo plays on: the hosts, the relay and its folder.
type set struct {
	ctx   context.Context
	say   narrator
	bin   string
	dir   string // config file, socket, logs
	kept  bool
	bed   *testbed.Bed
	relay *stage.Relay
}

// open makes the namespaces and starts the relay and coturn's peer. On an error
// nothing is left behind.
func open(ctx context.Context, say narrator, bin, keep string) (_ *set, err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	s := &set{ctx: ctx, say: say, bin: bin}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := s.makeDir(keep); err != nil {
		return nil, err
	}
	if err := testbed.EnsureBPFFS(); err != nil {
		return nil, err
	}
	if s.bed, err = testbed.Open(testbed.Options{}); err != nil {
		return nil, fmt.Errorf("making the namespaces: %w", err)
	}
	if err := s.bed.Warm(ctx); err != nil {
		return nil, err
	}
	s.relay, err = stage.Start(s.bed.Host("relay"), s.program("relay"), stage.Config{
		Name: s.bed.Name(), Dir: s.dir,
		Extra: fmt.Sprintf("allocations: {ports: %s, per_user: 100}\n", portsBefore),
	})
	if err != nil {
		return nil, err
	}
	if err := stage.StartPeer(ctx, s.bed.Host("peer")); err != nil {
		return nil, err
	}
	return s, nil
}

// makeDir makes the folder for config and log: a temporary one, or the one to
// keep, in which there must be no log yet.
func (s *set) makeDir(keep string) (err error) {
	if keep == "" {
		s.dir, err = os.MkdirTemp("", "plumbline-demo-")
		return err
	}
	dir, err := filepath.Abs(keep)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "logs")); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s already holds the log of another run: give --keep a new folder", dir)
	}
	s.dir, s.kept = dir, true
	return nil
}

// close removes all that open and the acts made, and says what is still there.
func (s *set) close() error {
	var errs []error
	if s.relay != nil {
		s.relay.Cleanup()
		if _, err := os.Stat(relay.PinFolder(s.relay.Name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("the pins in %s could not be removed", relay.PinFolder(s.relay.Name)))
		}
	}
	if s.bed != nil {
		errs = append(errs, s.bed.Close())
		left, err := filepath.Glob("/run/netns/" + s.bed.Name() + "-*")
		if err != nil || len(left) > 0 {
			errs = append(errs, fmt.Errorf("these namespaces could not be removed: %v %v", left, err))
		}
	}
	if s.dir != "" && !s.kept {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cleaning up: %w", err)
	}
	return nil
}

func (s *set) farewell() string {
	if s.kept {
		return fmt.Sprintf("   Namespaces, processes and pins are removed; config and log stay in %s", s.dir)
	}
	return "   Namespaces, processes, pins and the log folder are removed (make demo DEMOFLAGS='--keep DIR' keeps the log)."
}

func (s *set) program(name string) string { return filepath.Join(s.bin, name) }

// run runs one of our programs in the relay's namespace, shows it and what it
// printed, and fails unless it exits with the code wanted.
func (s *set) run(want int, name string, args ...string) (string, error) {
	cmd := s.bed.Host("relay").Command(s.ctx, s.program(name), args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return "", fmt.Errorf("running bin/%s: %w", name, err)
	}
	s.say.output("bin/"+name+" "+quoted(args), string(out))
	if code := cmd.ProcessState.ExitCode(); code != want {
		return "", fmt.Errorf("bin/%s %s exited with %d, want %d", name, quoted(args), code, want)
	}
	return string(out), nil
}

// quoted writes arguments as a shell would need them.
func quoted(args []string) string {
	parts := make([]string, len(args))
	for i, a := range args {
		parts[i] = a
		if strings.ContainsAny(a, " *|\"()$\\") {
			parts[i] = "'" + a + "'"
		}
	}
	return strings.Join(parts, " ")
}

// installed runs a program of the machine's.
func (s *set) installed(name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(s.ctx, name, args...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)+string(out)))
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, quoted(args), err)
	}
	return out, nil
}

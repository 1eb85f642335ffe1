// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the relay as it is shipped: the built binary, real sockets,
// real network namespaces with transmit checksum offload off, coturn's client
// and peer, and the log as the witness.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

// binaries is where TestMain builds relay and analyze.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "plumbline-e2e")
	if err == nil {
		binaries = dir
		var out []byte
		out, err = exec.Command("go", "build", "-o", dir+"/", "plumbline/cmd/relay", "plumbline/cmd/analyze").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "building the binaries under test:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func tool(name string) string { return filepath.Join(binaries, name) }

// needs skips loudly, or fails in CI, where a program is not installed.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
				t.Fatalf("needs %s (Debian: see `make tools`)", p)
			}
			t.Skipf("needs %s (Debian: see `make tools`)", p)
		}
	}
}

// scene is a bed with a relay that serves on it.
type scene struct {
	*testing.T
	bed   *testbed.Bed
	relay *stage.Relay
	ctx   context.Context
}

// play makes a bed, starts a relay with the config, and waits until it serves.
func play(t *testing.T, o testbed.Options, c stage.Config) *scene {
	t.Helper()
	s := open(t, o)
	s.start(c)
	s.wait("relay.started", 0, nil)
	return s
}

func open(t *testing.T, o testbed.Options) *scene {
	t.Helper()
	testbed.Require(t)
	testbed.BPFFS(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return &scene{T: t, bed: testbed.New(t, o), ctx: ctx}
}

// start starts a relay on the bed's relay host under a name of its own.
func (s *scene) start(c stage.Config) {
	s.Helper()
	if c.Dir == "" {
		c.Dir = s.TempDir()
		if keep := os.Getenv("PLUMBLINE_KEEP"); keep != "" { // a folder to look at afterwards
			c.Dir = filepath.Join(keep, s.Name())
			if err := os.MkdirAll(c.Dir, 0o755); err != nil {
				s.Fatal(err)
			}
		}
	}
	if c.Name == "" {
		c.Name = s.bed.Name()
	}
	r, err := stage.Start(s.bed.Host("relay"), tool("relay"), c)
	if err != nil {
		s.Fatal(err)
	}
	s.relay = r
	s.Cleanup(r.Cleanup)
}

func (s *scene) wait(event string, after uint64, match func(stage.Line) bool) stage.Line {
	s.Helper()
	l, err := s.relay.Wait(event, after, match)
	if err != nil {
		s.Fatal(err)
	}
	return l
}

// stop ends the relay in good order and returns its whole log.
func (s *scene) stop() []stage.Line {
	s.Helper()
	if err := s.relay.Stop(); err != nil {
		s.Fatal(err)
	}
	lines, err := s.relay.Lines()
	if err != nil {
		s.Fatal(err)
	}
	return lines
}

// command runs a built program on the relay's host and returns its exit code
// and output.
func (s *scene) command(name string, args ...string) (int, string) {
	s.Helper()
	cmd := s.bed.Host("relay").Command(s.ctx, tool(name), args...)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		s.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

func has(s string, parts ...string) error {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return fmt.Errorf("no %q in:\n%s", p, s)
		}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
)

// Cmd is an exec.Cmd that starts in a host's network namespace. Everything else,
// the mounts too, is as in the calling process. All of exec.Cmd's fields may be
// set before Start, but for SysProcAttr.Pdeathsig: the kernel ties that to the
// thread that started the child, not to the process.
type Cmd struct {
	*exec.Cmd
	host *Host

	waited sync.Once
	result error
}

// Command prepares a command to run in the host's network namespace. It is
// killed when ctx ends, and at the latest when the bed is closed.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	return &Cmd{Cmd: exec.CommandContext(ctx, name, args...), host: h}
}

// Start starts the command.
func (c *Cmd) Start() error {
	// A child inherits the namespaces of the thread that forks it, and Go forks
	// on the calling thread, which Do has locked and moved.
	if err := c.host.Do(c.Cmd.Start); err != nil {
		return err
	}
	c.host.commands.add(c)
	return nil
}

// Wait is exec.Cmd's, but may be called several times, also at once: each call
// returns when the command has ended. (A second exec.Cmd.Wait beside the first
// would wait for ever for a result that comes once.)
func (c *Cmd) Wait() error {
	c.waited.Do(func() {
		defer c.host.commands.remove(c)
		c.result = c.Cmd.Wait()
	})
	return c.result
}

// Run starts the command and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and returns its standard output.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("exec: Stdout already set")
	}
	var stdout, stderr bytes.Buffer
	c.Stdout = &stdout
	capture := c.Stderr == nil
	if capture {
		c.Stderr = &stderr
	}
	err := c.Run()
	var exit *exec.ExitError
	if capture && errors.As(err, &exit) {
		exit.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput runs the command and returns its output and errors, mixed.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errors.New("exec: Stdout or Stderr already set")
	}
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// commandSet knows the commands that run in a bed. A process left behind would
// keep a namespace, and whatever it holds, alive.
type commandSet struct {
	mu      sync.Mutex
	running map[*Cmd]struct{}
}

func (s *commandSet) add(c *Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		s.running = map[*Cmd]struct{}{}
	}
	s.running[c] = struct{}{}
}

func (s *commandSet) remove(c *Cmd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, c)
}

// killAll kills what still runs, and waits for its end. Whoever started a command
// may be waiting for it in another goroutine.
func (s *commandSet) killAll() error {
	s.mu.Lock()
	var left []*Cmd
	for c := range s.running {
		left = append(left, c)
	}
	s.mu.Unlock()
	var errs []error
	for _, c := range left {
		if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("killing %s (pid %d): %w", c.Path, c.Process.Pid, err))
			continue
		}
		_ = c.Wait()
	}
	return errors.Join(errs...)
}

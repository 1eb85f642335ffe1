// SPDX-License-Identifier: Apache-2.0

// Package stage runs the real relay binary on a test bed and watches it through
// its log, as an operator would: for the end-to-end tests, the demo and the
// benchmarks.
package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"plumbline/relay"
	"plumbline/relay/testbed"
)

// User and Password are the credential that Config gives the relay.
const (
	User     = "alice"
	Password = "wonderland"
)

// Config is a config file for a relay on a bed: the defaults everywhere, but for
// what only the operator knows. Extra is appended as it is; keys that it sets
// must be top-level ones that are not here, or given in Offload.
type Config struct {
	Name    string // relay.name
	Dir     string // logs and socket go below it
	Offload string // the mapping after "offload:"; "": {interface: eth0}
	PerUser int    // 0: the default
	Extra   string
	File    string   // the config file; "": relay.yaml in Dir
	LogDir  string   // "": logs in Dir
	Wrap    []string // a command that runs the relay, as setpriv and its flags
}

func (c Config) file() string {
	if c.File != "" {
		return c.File
	}
	return filepath.Join(c.Dir, "relay.yaml")
}

func (c Config) logDir() string {
	if c.LogDir != "" {
		return c.LogDir
	}
	return filepath.Join(c.Dir, "logs")
}

// YAML is the file's text.
func (c Config) YAML() string {
	offload := c.Offload
	if offload == "" {
		offload = "{interface: eth0}"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "relay: {name: %s}\n", c.Name)
	fmt.Fprintf(&b, "auth: {users: [{name: %s, password: %s}]}\n", User, Password)
	fmt.Fprintf(&b, "peers: {allow: [10.77.0.0/16]}\n")
	fmt.Fprintf(&b, "offload: %s\n", offload)
	fmt.Fprintf(&b, "logs: {dir: %q, summary_interval: 1s}\n", c.logDir())
	fmt.Fprintf(&b, "admin: {socket: %q, http: \"127.0.0.1:9464\"}\n", filepath.Join(c.Dir, "relay.sock"))
	if c.PerUser > 0 {
		fmt.Fprintf(&b, "allocations: {per_user: %d}\n", c.PerUser)
	}
	b.WriteString(c.Extra)
	return b.String()
}

// Relay is a running relay process.
type Relay struct {
	Name       string
	Binary     string
	ConfigFile string
	LogDir     string
	host       *testbed.Host
	cmd        *testbed.Cmd
	out        *lockedBuffer
	exited     chan struct{}
	exit       error
}

// Start writes the config file and starts the relay on a host of a bed. It does
// not wait for it to serve: see Wait.
func Start(host *testbed.Host, binary string, c Config) (*Relay, error) {
	r := &Relay{
		Name: c.Name, Binary: binary, ConfigFile: c.file(), LogDir: c.logDir(),
		host: host, out: &lockedBuffer{}, exited: make(chan struct{}),
	}
	if err := os.WriteFile(r.ConfigFile, []byte(c.YAML()), 0o600); err != nil {
		return nil, err
	}
	command := append(slices.Clone(c.Wrap), binary, "run", "--config", r.ConfigFile)
	r.cmd = host.Command(context.Background(), command[0], command[1:]...)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	go func() {
		r.exit = r.cmd.Wait()
		close(r.exited)
	}()
	return r, nil
}

// Signal sends a signal to the relay.
func (r *Relay) Signal(s os.Signal) error { return r.cmd.Process.Signal(s) }

// PID is the relay's process.
func (r *Relay) PID() int { return r.cmd.Process.Pid }

// Console is what the relay has printed so far.
func (r *Relay) Console() string { return r.out.String() }

// Stop ends the relay with SIGTERM and waits for it. A relay that was killed or
// has ended already is no error.
func (r *Relay) Stop() error {
	_ = r.Signal(syscall.SIGCONT)
	if err := r.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return r.WaitExit(20 * time.Second)
}

// WaitExit waits until the process has ended.
func (r *Relay) WaitExit(patience time.Duration) error {
	select {
	case <-r.exited:
		var code *exec.ExitError
		if errors.As(r.exit, &code) {
			return fmt.Errorf("the relay ended with %w; it printed:\n%s", r.exit, r.Console())
		}
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the relay (pid %d) did not end within %s", r.PID(), patience)
	}
}

// Cleanup kills the relay if it still runs and removes the pins that it left.
func (r *Relay) Cleanup() {
	_ = r.cmd.Process.Kill()
	<-r.exited
	dir := relay.PinFolder(r.Name)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
	_ = os.Remove(dir)
}

// Line is one line of the log.
type Line struct {
	Event    string `json:"event"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Time     string `json:"time"`
	Run      string `json:"run"`
	Seq      uint64 `json:"seq"`
	Raw      []byte `json:"-"`
}

// Decode reads the line's own fields into v.
func (l Line) Decode(v any) error { return json.Unmarshal(l.Raw, v) }

// Lines are the log's whole lines so far, over all its files.
func (r *Relay) Lines() ([]Line, error) {
	files, err := filepath.Glob(filepath.Join(r.LogDir, "relay-*.log"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var lines []Line
	for _, file := range append(files, filepath.Join(r.LogDir, "relay.log")) {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for raw := range bytes.Lines(data) {
			if raw[len(raw)-1] != '\n' {
				break
			}
			l := Line{Raw: raw}
			if err := json.Unmarshal(raw, &l); err != nil {
				return nil, fmt.Errorf("%s: %w: %q", file, err, raw)
			}
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// Wait waits for a line of an event for which match holds (nil: any), after the
// seq given, and returns it. Its patience is for machines under heavy load.
func (r *Relay) Wait(event string, after uint64, match func(Line) bool) (Line, error) {
	return r.WaitFor(event, after, 30*time.Second, match)
}

// WaitFor is Wait with another patience.
func (r *Relay) WaitFor(event string, after uint64, patience time.Duration, match func(Line) bool) (Line, error) {
	deadline := time.Now().Add(patience)
	for {
		lines, err := r.Lines()
		if err == nil {
			for _, l := range lines {
				if l.Event == event && l.Seq > after && (match == nil || match(l)) {
					return l, nil
				}
			}
		}
		select {
		case <-r.exited:
			if lines, again := r.Lines(); again == nil {
				for _, l := range lines {
					if l.Event == event && l.Seq > after && (match == nil || match(l)) {
						return l, nil
					}
				}
			}
			return Line{}, fmt.Errorf("waiting for %s: the relay ended (%v); it printed:\n%s", event, r.exit, r.Console())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return Line{}, fmt.Errorf("no %s within %s (error reading the log: %v); the relay printed:\n%s", event, patience, err, r.Console())
		}
	}
}

// lockedBuffer takes a process's output while others read it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

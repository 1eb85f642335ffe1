// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"plumbline/relay"
	"plumbline/relay/testbed"
)

// build builds the demo and what it runs, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "plumbline-demo-bin-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+"/", "plumbline/relay/demo", "plumbline/cmd/relay", "plumbline/cmd/analyze").CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("building the demo: %w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := build(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// run is a run of the demo's binary.
type run struct {
	*testing.T
	cmd *exec.Cmd
	out *buffer
	tmp string // its TMPDIR, which also marks its processes
}

func start(t *testing.T, path string, args ...string) *run {
	t.Helper()
	testbed.Require(t)
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err == nil {
			continue
		}
		if os.Getenv(testbed.RequireAllEnv) == "1" {
			t.Fatalf("needs %s (Debian package %s)", p.name, p.debian)
		}
		t.Skipf("needs %s (Debian package %s)", p.name, p.debian)
	}
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	r := &run{T: t, out: &buffer{}, tmp: t.TempDir()}
	r.cmd = exec.Command(filepath.Join(bin, "demo"), append([]string{"--bin", bin}, args...)...)
	r.cmd.Env = append(os.Environ(), "TMPDIR="+r.tmp, "PATH="+path)
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.out
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

// until waits for a text in the output.
func (r *run) until(text string) {
	r.Helper()
	for end := time.Now().Add(patience); !strings.Contains(r.out.String(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("the demo never printed %q:\n%s", text, r.out.String())
		}
	}
}

// end waits for the exit code and fails if anything was left behind.
func (r *run) end(code int) {
	r.Helper()
	watchdog := time.AfterFunc(patience+time.Minute, func() { _ = r.cmd.Process.Kill() })
	defer watchdog.Stop()
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		r.Fatal(err)
	}
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		r.Fatalf("exit code %d, want %d:\n%s", got, code, r.out.String())
	}
	bed := fmt.Sprintf("plumb-%d-", r.cmd.Process.Pid)
	for _, pattern := range []string{"/run/netns/" + bed + "*", relay.PinFolder(bed) + "*", filepath.Join(r.tmp, "*")} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			r.Errorf("left behind: %v (error: %v)", left, err)
		}
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		r.Fatal(err)
	}
	for _, file := range environs {
		// Unreadable: that process has just ended.
		if env, err := os.ReadFile(file); err == nil && bytes.Contains(env, []byte("TMPDIR="+r.tmp+"\x00")) {
			cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			r.Errorf("left running: %s: %q", filepath.Dir(file), cmdline)
		}
	}
}

func (r *run) says(parts ...string) {
	r.Helper()
	for _, p := range parts {
		if !strings.Contains(r.out.String(), p) {
			r.Errorf("no %q in:\n%s", p, r.out.String())
		}
	}
}

func TestTheWholeStory(t *testing.T) {
	t.Parallel()
	r := start(t, os.Getenv("PATH"))
	r.end(0)
	r.says("router attached to eth0", "none lost", "config 2 seen in effect", "config-drift", "the kernel holds what is intended", "log folder are removed")
}

// An interrupt, here while packets flow under the new config, leaves nothing but
// the folder that was asked for.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	keep := filepath.Join(t.TempDir(), "kept")
	r := start(t, os.Getenv("PATH"), "--keep", keep)
	r.until("$ sed -i")
	if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r.end(130)
	r.says("interrupted")
	if _, err := os.Stat(filepath.Join(keep, "logs", "relay.log")); err != nil {
		t.Errorf("the log was to be kept: %v", err)
	}
}

// The demo is evidence only if it fails where nothing was found: here bpftool
// says that it wrote and did not.
func TestFailsWhereNoDriftIsFound(t *testing.T) {
	t.Parallel()
	real, err := exec.LookPath("bpftool")
	if err != nil {
		real = "bpftool" // start says what to do about that
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *update*) exit 0 ;; esac\nexec %s \"$@\"\n", real)
	if err := os.WriteFile(filepath.Join(dir, "bpftool"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	r := start(t, dir+":"+os.Getenv("PATH"))
	r.end(1)
	r.says("FAILED: the relay found no drift")
}

// What is missing is said at once, with the packages' names, and nothing is made.
func TestSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir())
	r.end(1)
	r.says("bpftool", "turnutils_uclient", "apt-get install --no-install-recommends bpftool coturn jq")
}

// buffer takes a process's output while others read it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

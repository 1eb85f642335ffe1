// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the relay as it is shipped: the built binary, real sockets,
// real network namespaces with transmit checksum offload off, coturn's client
// and peer, and the log as the witness. Every run's log is held to its promises
// when the relay stops.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plumbline/relay"
)

// binaries is where TestMain builds relay and analyze.
var binaries string

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		// Scenes are independent, and mostly wait for coturn's pace.
		_ = flag.Set("test.parallel", "4")
	}
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
	for _, left := range leftovers(dir) {
		fmt.Fprintln(os.Stderr, "the tests left behind:", left)
		code = 1
	}
	os.Exit(code)
}

// leftovers are the namespaces, pins, mounts and processes of this test process
// that are still there.
func leftovers(programs string) []string {
	var left []string
	ours := fmt.Sprintf("plumb-%d-*", os.Getpid())
	for _, pattern := range []string{"/run/netns/" + ours, relay.PinFolder(ours), "/sys/fs/bpf/" + ours} {
		found, _ := filepath.Glob(pattern)
		left = append(left, found...)
	}
	mounts, _ := os.ReadFile("/proc/mounts")
	for line := range strings.Lines(string(mounts)) {
		if strings.HasPrefix(line, diskName()+" ") {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, p := range processes {
		// The program's file is gone by now: "… (deleted)".
		if exe, err := os.Readlink(p); err == nil && strings.HasPrefix(exe, programs+"/") {
			left = append(left, "process "+filepath.Base(filepath.Dir(p))+" of "+exe)
		}
	}
	return left
}

// diskName is the source of the file systems that tests of this process mount.
func diskName() string { return fmt.Sprintf("plumb-%d-disk", os.Getpid()) }

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

func has(s string, parts ...string) error {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return fmt.Errorf("no %q in:\n%s", p, s)
		}
	}
	return nil
}

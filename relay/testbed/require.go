// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// RequireAllEnv names the environment variable that, set to 1, turns every skip
// of this package into a failure: continuous integration must not pass by
// running nothing.
const RequireAllEnv = "PLUMBLINE_REQUIRE_ALL"

// TB is the part of testing.TB that a bed uses. It is declared here so that a
// program which is not a test does not link package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Require skips the test unless this process may make namespaces, configure
// networks and load XDP programs. With [RequireAllEnv] set to 1 it fails it.
func Require(t TB) {
	t.Helper()
	err := Available()
	if err == nil {
		return
	}
	if os.Getenv(RequireAllEnv) == "1" {
		t.Fatalf("%s=1, but %v", RequireAllEnv, err)
	}
	t.Skipf("needs root: %v", err)
}

// Available says what is missing for a bed, or nil.
func Available() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("the effective user is %d, not root: a test bed makes network namespaces and mounts", uid)
	}
	// Root in a container often has the user id but not the capabilities.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading this process's capabilities: %w", err)
	}
	for _, c := range []struct {
		bit  uint
		name string
		why  string
	}{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "configure links"},
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "make and enter namespaces"},
	} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			return fmt.Errorf("%s is not effective: a test bed needs it to %s", c.name, c.why)
		}
	}
	prog, err := passProgram()
	if err != nil {
		return err
	}
	return prog.Close()
}

// passProgram loads the smallest XDP program, one that passes every frame.
func passProgram() (*ebpf.Program, error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "testbed_pass",
		Type: ebpf.XDP,
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 2), // XDP_PASS, include/uapi/linux/bpf.h
			asm.Return(),
		},
		License: "Apache-2.0",
	})
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("loading an XDP program: %w: needs CAP_BPF and CAP_NET_ADMIN", err)
	}
	if err != nil {
		return nil, fmt.Errorf("loading an XDP program: %w", err)
	}
	return prog, nil
}

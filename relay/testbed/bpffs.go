// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// BPFFSPath is where a BPF file system belongs.
const BPFFSPath = "/sys/fs/bpf"

// EnsureBPFFS mounts a BPF file system at [BPFFSPath] unless there is one. It is
// never unmounted again: it is the machine's, other processes may have begun to
// use it, and it is empty once each has removed its own pins.
func EnsureBPFFS() error {
	if ok, err := isBPFFS(BPFFSPath); err != nil || ok {
		return err
	}
	// Two processes would mount it twice, the second hiding the first's pins.
	unlock, err := lockDir(BPFFSPath)
	if err != nil {
		return err
	}
	defer unlock()
	if ok, err := isBPFFS(BPFFSPath); err != nil || ok {
		return err
	}
	if err := unix.Mount("bpf", BPFFSPath, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mounting a BPF file system at %s: %w", BPFFSPath, err)
	}
	return nil
}

func isBPFFS(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, fmt.Errorf("looking for a BPF file system at %s: %w", path, err)
	}
	return st.Type == unix.BPF_FS_MAGIC, nil
}

// BPFFS makes sure that there is a BPF file system and returns its path, which is
// shared by the whole machine: use names of your own in it, or [PinDir]. It skips
// the test as [Require] does.
func BPFFS(t TB) string {
	t.Helper()
	Require(t)
	if err := EnsureBPFFS(); err != nil {
		t.Fatalf("%v", err)
	}
	return BPFFSPath
}

// PinDir makes a directory of the test's own on the BPF file system, and removes
// it with all pins in it when the test ends.
func PinDir(t TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(BPFFS(t), fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		t.Fatalf("making a directory for pins: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Logf("removing pins in %s: %v", filepath.Base(dir), err)
		}
	})
	return dir
}

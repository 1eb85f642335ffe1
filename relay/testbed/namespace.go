// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaceDir is where iproute2 and nsenter users look for named namespaces.
const namespaceDir = "/run/netns"

// prefix starts the name of every namespace of a bed: plumb-PID-N-HOST.
const prefix = "plumb-"

// newNamespace makes a named network namespace and returns a handle to it. The
// calling thread stays where it was.
func newNamespace(name string) (netns.NsHandle, error) {
	if err := prepareNamespaceDir(); err != nil {
		return netns.None(), err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return netns.None(), fmt.Errorf("opening the thread's own network namespace: %w", err)
	}
	defer func() { _ = home.Close() }()
	created, err := netns.NewNamed(name)
	mustReturn(home)
	if err != nil {
		return netns.None(), fmt.Errorf("making network namespace %s/%s: %w", namespaceDir, name, err)
	}
	return created, nil
}

// prepareNamespaceDir makes the directory a shared mount of its own, as
// ip-netns(8) does. Without it, the first "ip netns add" by anyone would mount
// the directory over itself and hide a second reference to each namespace
// beneath, which then could not be removed. The lock keeps two processes from
// doing it at once.
func prepareNamespaceDir() error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", namespaceDir, err)
	}
	unlock, err := lockDir(namespaceDir)
	if err != nil {
		return err
	}
	defer unlock()
	share := func() error { return unix.Mount("", namespaceDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err = share()
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err = unix.Mount(namespaceDir, namespaceDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = share()
		}
	}
	if err != nil {
		return fmt.Errorf("making %s a shared mount: %w", namespaceDir, err)
	}
	return nil
}

// lockDir takes an advisory lock on a directory, across processes.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return func() { _ = d.Close() }, nil
}

// inNamespace runs fn on the calling goroutine with its thread in ns.
func inNamespace(ns netns.NsHandle, fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return fmt.Errorf("opening the thread's own network namespace: %w", err)
	}
	defer func() { _ = home.Close() }()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("entering a network namespace: %w", err)
	}
	// Deferred, so that t.FailNow (runtime.Goexit) in fn comes home too.
	defer mustReturn(home)
	return fn()
}

// mustReturn panics if the thread cannot go home: a goroutine that goes on in
// the wrong namespace would make every later result a lie.
func mustReturn(home netns.NsHandle) {
	if err := netns.Set(home); err != nil {
		panic(fmt.Sprintf("testbed: cannot return to the original network namespace: %v", err))
	}
}

// Sweep removes the namespaces of beds whose process is gone (killed before it
// could clean up), and with them their links. It returns how many there were.
// [Open] calls it.
func Sweep() (int, error) {
	entries, err := os.ReadDir(namespaceDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var errs []error
	swept := 0
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(strings.SplitN(rest, "-", 2)[0])
		if err != nil || pid <= 0 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		// Two processes may sweep the same leftover: the loser finds it gone.
		if err := deleteNamespace(e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		swept++
	}
	return swept, errors.Join(errs...)
}

// deleteNamespace removes a namespace's name. The namespace itself ends when the
// last process, socket or handle in it does.
func deleteNamespace(name string) error {
	path := filepath.Join(namespaceDir, name)
	// EINVAL: not mounted, only the file is left.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting %s: %w", path, err)
	}
	return os.Remove(path)
}

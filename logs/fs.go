// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fileSystem is what the writer asks of the disk while it runs. Tests put faults
// in between.
type fileSystem interface {
	Mkdir(path string) error
	// Create opens a file for appending; it may exist, empty.
	Create(path string) (logFile, error)
	// Rename never replaces a file: it fails with os.ErrExist.
	Rename(from, to string) error
	Lstat(path string) (os.FileInfo, error)
}

type logFile interface {
	io.WriteCloser
	Truncate(size int64) error
	Stat() (os.FileInfo, error)
	Sync() error
}

type disk struct{}

func (disk) Mkdir(path string) error { return os.MkdirAll(path, 0o750) }

func (disk) Create(path string) (logFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o640)
}

func (disk) Rename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		// NFS and a few others can't promise it. Nobody else makes files of
		// this name, and the folder is locked.
		if _, err := os.Lstat(to); err == nil {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: os.ErrExist}
		}
		return os.Rename(from, to)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func (disk) Lstat(path string) (os.FileInfo, error) { return os.Lstat(path) }

// ErrInUse says that another process writes to the log folder.
var ErrInUse = errors.New("log folder in use")

// lockFile is hidden, so that `cat *` and log collectors pass it by. It is never
// removed: removing a lock file is a race with the next owner.
const lockFile = ".relay.lock"

// lockDir takes the folder for this process for as long as the returned file is
// open: two writers in one file would tear each other's lines and seqs.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if err != unix.EWOULDBLOCK {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		owner := "another process"
		text, _ := io.ReadAll(io.LimitReader(f, 32))
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			owner = fmt.Sprintf("the process with pid %d", pid)
		}
		return nil, fmt.Errorf("%w: %s writes to %s; give each relay a logs.dir of its own or stop the other one", ErrInUse, owner, dir)
	}
	// The pid is a courtesy for the other's error message; the lock holds
	// without it, also on a full disk.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// rotatedFiles lists the plain names of our rotated files in a folder and the
// time of the newest.
func rotatedFiles(dir string) (names map[string]bool, newest time.Time, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, time.Time{}, err
	}
	names = make(map[string]bool)
	for _, e := range entries {
		opened, plain, ok := ParseFileName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		names[plain] = true
		if opened.After(newest) {
			newest = opened
		}
	}
	return names, newest, nil
}

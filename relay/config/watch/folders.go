// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// folders watches the folders that paths lead through: for each its own, the
// parent of that (it may be replaced), and that of every symbolic link on the
// way and of the file in the end. The file itself is not watched: a watch follows the inode
// and loses it at the first rename.
type folders struct {
	path  string
	named []string // the paths besides it
	fs    *fsnotify.Watcher
	out   chan struct{}
	done  sync.WaitGroup

	// matter holds the names, in any watched folder, and the full paths of
	// folders whose events are hints.
	matter  atomic.Pointer[map[string]bool]
	watched map[string]fileID // what each watched folder was when it was added
}

// fileID tells a folder from the one that took its name.
type fileID struct{ dev, ino uint64 }

func newFolders(path string) (*folders, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w: name it by an absolute path", path, err)
	}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w: raise fs.inotify.max_user_instances; until then it is only polled", path, err)
	}
	f := &folders{path: path, fs: w, out: make(chan struct{}, 1), watched: map[string]fileID{}}
	f.rearm(true)
	f.done.Go(f.run)
	return f, nil
}

func (f *folders) hints() <-chan struct{} { return f.out }

func (f *folders) close() {
	f.fs.Close()
	f.done.Wait()
}

func (f *folders) run() {
	for {
		select {
		case event, ok := <-f.fs.Events:
			if !ok {
				return
			}
			if !f.matters(event.Name) {
				continue
			}
		case _, ok := <-f.fs.Errors:
			if !ok {
				return
			}
			// Most likely the queue overflowed: anything may have happened.
		}
		select {
		case f.out <- struct{}{}:
		default: // one hint is enough
		}
	}
}

// matters keeps other files of a busy folder from causing readings.
func (f *folders) matters(name string) bool {
	set := *f.matter.Load()
	return set[name] || set[filepath.Base(name)]
}

// follow implements hinter. Paths that are not absolute are left to the poll.
func (f *folders) follow(named []string) {
	f.named = f.named[:0:0]
	for _, path := range named {
		if filepath.IsAbs(path) {
			f.named = append(f.named, filepath.Clean(path))
		}
	}
}

// rearm implements hinter. Folders that can't be watched are left to the poll.
func (f *folders) rearm(all bool) {
	dirs, matter := trail(f.path)
	for _, path := range f.named {
		more, names := trail(path)
		maps.Copy(dirs, more)
		maps.Copy(matter, names)
	}
	want := map[string]fileID{}
	seen := map[fileID]bool{}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		// Two names of one folder share one watch in the kernel; removing either
		// would end both.
		if id, err := identify(dir); err == nil && !seen[id] {
			want[dir], seen[id] = id, true
			matter[dir] = true
		}
	}
	f.matter.Store(&matter)
	// A watch that the kernel ended is gone from the list.
	if !all && maps.Equal(want, f.watched) && len(f.fs.WatchList()) == len(want) {
		return
	}
	for _, dir := range f.fs.WatchList() {
		f.fs.Remove(dir) // fails only where the folder is gone, and then so is the watch
	}
	f.watched = map[string]fileID{}
	for dir, id := range want {
		if err := f.fs.Add(dir); err == nil {
			f.watched[dir] = id
		}
	}
}

func identify(dir string) (fileID, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return fileID{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() {
		return fileID{}, errors.New("not a folder")
	}
	return fileID{st.Dev, st.Ino}, nil
}

// maxLinks is how many symbolic links the kernel follows (path_resolution(7)).
const maxLinks = 40

// trail follows path one name at a time, as far as it goes. It returns the
// folders to watch and the names that matter in them.
func trail(path string) (dirs map[string]bool, names map[string]bool) {
	own := filepath.Dir(path)
	dirs = map[string]bool{own: true, filepath.Dir(own): true}
	names = map[string]bool{filepath.Base(path): true, filepath.Base(own): true}

	rest := strings.Split(strings.TrimPrefix(path, "/"), "/")
	at := "/"
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		if len(rest) == 0 {
			// The last name of the path, or of a link's target.
			dirs[at], names[name] = true, true
		}
		if err != nil {
			return dirs, names
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		dirs[at], names[name] = true, true
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return dirs, names
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(strings.Trim(target, "/"), "/"), rest...)
	}
	return dirs, names
}

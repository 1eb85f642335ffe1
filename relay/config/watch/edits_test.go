// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// deadline is how long a change may take to be delivered before a test fails;
// tests that pass don't wait for it.
const deadline = 10 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// events watches path without polling: what is delivered came from an event.
func events(t *testing.T, path, last string) *Watcher {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	w := Start(ctx, Options{Path: path, Last: []byte(last), Debounce: 30 * time.Millisecond, Poll: time.Hour})
	if err := w.Degraded(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); w.Wait() })
	return w
}

// expect waits for text to be delivered. Other readings may come before it: a
// file that is caught half-written is delivered half, then whole.
func expect(t *testing.T, w *Watcher, text string) {
	t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case u := <-w.Updates():
			if u.Err == nil && string(u.Data) == text {
				return
			}
			t.Logf("before %q: %q, %v", text, u.Data, u.Err)
		case <-timeout:
			t.Fatalf("%q was not delivered", text)
		}
	}
}

func expectError(t *testing.T, w *Watcher) error {
	t.Helper()
	select {
	case u := <-w.Updates():
		if u.Err == nil {
			t.Fatalf("got %q, want an error", u.Data)
		}
		return u.Err
	case <-time.After(deadline):
		t.Fatal("no error was delivered")
	}
	return nil
}

// TestEdits makes every edit twice: a watcher that loses the file shows it the
// second time.
func TestEdits(t *testing.T) {
	t.Parallel()
	swap := func(t *testing.T, dir, text string) { // as kubelet's atomic writer does
		old, _ := os.Readlink(filepath.Join(dir, "..data"))
		version, err := os.MkdirTemp(dir, "..version_")
		must(t, err)
		write(t, filepath.Join(version, "relay.yaml"), text)
		must(t, os.Symlink(filepath.Base(version), filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		if old != "" {
			must(t, os.RemoveAll(filepath.Join(dir, old)))
		}
	}
	plain := func(t *testing.T, dir string) { write(t, filepath.Join(dir, "relay.yaml"), "one") }
	for name, style := range map[string]struct {
		make func(t *testing.T, dir string)
		edit func(t *testing.T, dir, text string)
	}{
		"slow write in place": {plain, func(t *testing.T, dir, text string) {
			f, err := os.OpenFile(filepath.Join(dir, "relay.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
			must(t, err)
			for _, b := range []byte(text) {
				_, err := f.Write([]byte{b})
				must(t, err)
				time.Sleep(20 * time.Millisecond) // slowness is what is tested
			}
			must(t, f.Close())
		}},
		"atomic rename": {plain, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, ".relay.yaml.tmp"), text)
			must(t, os.Rename(filepath.Join(dir, ".relay.yaml.tmp"), filepath.Join(dir, "relay.yaml")))
		}},
		"editor backup and rename": {plain, func(t *testing.T, dir, text string) {
			must(t, os.Rename(filepath.Join(dir, "relay.yaml"), filepath.Join(dir, "relay.yaml~")))
			write(t, filepath.Join(dir, "relay.yaml"), text)
			must(t, os.Remove(filepath.Join(dir, "relay.yaml~")))
		}},
		"removed, made again, edited": {plain, func(t *testing.T, dir, text string) {
			must(t, os.Remove(filepath.Join(dir, "relay.yaml")))
			write(t, filepath.Join(dir, "relay.yaml"), "")
			write(t, filepath.Join(dir, "relay.yaml"), text)
		}},
		"kubernetes symlink swap": {func(t *testing.T, dir string) {
			swap(t, dir, "one")
			must(t, os.Symlink("..data/relay.yaml", filepath.Join(dir, "relay.yaml")))
		}, swap},
		"folder replaced": {plain, func(t *testing.T, dir, text string) {
			must(t, os.Mkdir(dir+".new", 0o700))
			write(t, filepath.Join(dir+".new", "relay.yaml"), text)
			must(t, os.Rename(dir, dir+".old"))
			must(t, os.Rename(dir+".new", dir))
			must(t, os.RemoveAll(dir+".old"))
		}},
		"target of a symlink edited": {func(t *testing.T, dir string) {
			must(t, os.Mkdir(filepath.Join(dir, "..", "elsewhere"), 0o700))
			write(t, filepath.Join(dir, "..", "elsewhere", "real.yaml"), "one")
			must(t, os.Symlink("../elsewhere/real.yaml", filepath.Join(dir, "relay.yaml")))
		}, func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "..", "elsewhere", "real.yaml"), text)
		}},
		"link in a chain of links moved": {func(t *testing.T, dir string) {
			far := filepath.Join(dir, "..", "far")
			must(t, os.Mkdir(far, 0o700))
			write(t, filepath.Join(far, "a"), "one")
			must(t, os.Symlink("a", filepath.Join(far, "current")))
			must(t, os.Symlink(filepath.Join(far, "current"), filepath.Join(dir, "relay.yaml")))
		}, func(t *testing.T, dir, text string) {
			far := filepath.Join(dir, "..", "far")
			write(t, filepath.Join(far, "v"+text), text)
			must(t, os.Symlink("v"+text, filepath.Join(far, "next")))
			must(t, os.Rename(filepath.Join(far, "next"), filepath.Join(far, "current")))
		}},
		"made readable": {plain, func(t *testing.T, dir, text string) {
			path := filepath.Join(dir, "relay.yaml")
			must(t, os.Chmod(path, 0))
			write(t, path+".new", text)
			must(t, os.Chmod(path+".new", 0))
			must(t, os.Rename(path+".new", path))
			must(t, os.Chmod(path, 0o600))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "etc", "plumbline")
			must(t, os.MkdirAll(dir, 0o700))
			style.make(t, dir)
			w := events(t, filepath.Join(dir, "relay.yaml"), "one")
			for _, text := range []string{"two", "three", "four"} {
				style.edit(t, dir, text)
				expect(t, w, text)
			}
		})
	}
}

// TestFollowsThePath edits in place what the path leads to only since it was
// armed: watches that were set once at the start miss it.
func TestFollowsThePath(t *testing.T) {
	t.Parallel()
	t.Run("into a new folder", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "cfg")
		must(t, os.Mkdir(dir, 0o700))
		path := filepath.Join(dir, "relay.yaml")
		write(t, path, "one")
		w := events(t, path, "one")
		for _, text := range []string{"two", "three"} {
			must(t, os.RemoveAll(dir))
			must(t, os.Mkdir(dir, 0o700))
			write(t, path, "new folder for "+text)
			expect(t, w, "new folder for "+text)
			write(t, path, text)
			expect(t, w, text)
		}
	})
	t.Run("along a moved link", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		path := filepath.Join(dir, "cfg", "relay.yaml")
		for _, sub := range []string{"cfg", "a", "b"} {
			must(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
		}
		write(t, filepath.Join(dir, "a", "x"), "one")
		write(t, filepath.Join(dir, "b", "y"), "two")
		must(t, os.Symlink("../a/x", path))
		w := events(t, path, "one")
		must(t, os.Symlink("../b/y", path+".new"))
		must(t, os.Rename(path+".new", path))
		expect(t, w, "two")
		write(t, filepath.Join(dir, "b", "y"), "three")
		expect(t, w, "three")
	})
	t.Run("through a folder that is a link", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		for _, sub := range []string{"v1", "v2"} {
			must(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
			write(t, filepath.Join(dir, sub, "relay.yaml"), sub)
		}
		must(t, os.Symlink("v1", filepath.Join(dir, "cfg")))
		w := events(t, filepath.Join(dir, "cfg", "relay.yaml"), "v1")
		must(t, os.Symlink("v2", filepath.Join(dir, "next")))
		must(t, os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "cfg")))
		expect(t, w, "v2")
		write(t, filepath.Join(dir, "v2", "relay.yaml"), "three")
		expect(t, w, "three")
	})
}

func TestRemovedThenMadeAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "relay.yaml")
	write(t, path, "one")
	w := events(t, path, "one")
	must(t, os.Remove(path))
	if err := expectError(t, w); !strings.Contains(err.Error(), path) || !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("error %q: want one that names the file and says that it is not there", err)
	}
	// The same bytes as before: they differ from what was read last, an error.
	write(t, path, "one")
	expect(t, w, "one")
}

func unwrapAll(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
}

func TestMissingFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cfg")
	w := events(t, filepath.Join(dir, "relay.yaml"), "")
	expectError(t, w)
	must(t, os.Mkdir(dir, 0o700))
	write(t, filepath.Join(dir, "relay.yaml"), "one")
	expect(t, w, "one")
}

func TestChangedBeforeStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "relay.yaml")
	write(t, path, "two")
	expect(t, events(t, path, "one"), "two")
}

// TestReadingIsNoHint guards against a watcher that keeps itself busy: reading
// and arming again must not look like a change. Other files don't matter.
func TestReadingIsNoHint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "relay.yaml")
	write(t, path, "one")
	f, err := newFolders(path)
	must(t, err)
	defer f.close()
	for range 5 {
		f.rearm(true)
		_, err := os.ReadFile(path)
		must(t, err)
		write(t, filepath.Join(dir, "relay.log"), "busy")
	}
	// The queue is in order: were there hints of those, they came before this.
	write(t, path, "two")
	select {
	case <-f.hints():
	case <-time.After(deadline):
		t.Fatal("a real change gave no hint")
	}
	if got := f.fs.WatchList(); len(got) != 2 {
		t.Errorf("watches %v, want the folder and its parent", got)
	}
}

// TestQuietFolderGivesNoHint is the other half: nothing but reading, and no
// hint may be there once the kernel's queue has been passed on.
func TestQuietFolderGivesNoHint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "relay.yaml")
	write(t, path, "one")
	f, err := newFolders(path)
	must(t, err)
	defer f.close()
	var seen []string
	passed := make(chan struct{})
	for range 5 {
		f.rearm(true)
		_, err := os.ReadFile(path)
		must(t, err)
		write(t, filepath.Join(dir, "relay.log"), "busy")
	}
	// A name that matters to this test only, to see the end of the queue.
	set := map[string]bool{"relay.yaml": true, "end": true}
	f.matter.Store(&set)
	go func() {
		defer close(passed)
		<-f.hints()
		seen = append(seen, "one hint")
		select {
		case <-f.hints():
			seen = append(seen, "another")
		case <-time.After(300 * time.Millisecond):
		}
	}()
	must(t, os.Mkdir(filepath.Join(dir, "end"), 0o700))
	select {
	case <-passed:
	case <-time.After(deadline):
		t.Fatal("the last event did not come")
	}
	if len(seen) != 1 {
		t.Errorf("reading and arming gave hints: %v", seen)
	}
}

func TestLoopOfLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "relay.yaml")
	must(t, os.Symlink("relay.yaml", path))
	w := events(t, path, "")
	expectError(t, w)
	must(t, os.Remove(path))
	write(t, path, "one")
	expect(t, w, "one")
}

// TestHoldsNothingAfterwards counts goroutines and descriptors; it is not
// parallel, so that no other test's are counted.
func TestHoldsNothingAfterwards(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.yaml")
	write(t, path, "0")
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	one := func(i int) {
		ctx, stop := context.WithCancel(context.Background())
		w := Start(ctx, Options{Path: path, Debounce: time.Millisecond})
		expect(t, w, fmt.Sprint(i))
		write(t, path, fmt.Sprint(i+1))
		expect(t, w, fmt.Sprint(i+1))
		stop()
		w.Wait()
		select {
		case u := <-w.Updates():
			t.Fatalf("an update after the end: %+v", u)
		default:
		}
	}
	one(0) // the runtime's own pollers exist from here on
	goroutines, fds := runtime.NumGoroutine(), open()
	for i := 1; i < 20; i++ {
		one(i)
	}
	if n := open(); n > fds {
		t.Errorf("%d descriptors, %d before", n, fds)
	}
	for end := time.Now().Add(deadline); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
		}
	}
}

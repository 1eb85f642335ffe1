// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lines names the file in each line but the first.
func lines(data []byte) []string {
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return all[1:]
}

// namedEvents watches path, and what it names, without polling.
func namedEvents(t *testing.T, path string) *Watcher {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	opts := Options{Path: path, Named: lines, ReadNamed: os.ReadFile, Debounce: 30 * time.Millisecond, Poll: time.Hour}
	first := Once(opts)
	must(t, first.Err)
	opts.Last, opts.LastNamed = first.Data, first.Named
	w := Start(ctx, opts)
	must(t, w.Degraded())
	t.Cleanup(func() { stop(); w.Wait() })
	return w
}

// expectNamed waits for text in one of the named files.
func expectNamed(t *testing.T, w *Watcher, path, text string) {
	t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case u := <-w.Updates():
			if data, err := u.ReadNamed(path); err == nil && string(data) == text {
				return
			}
			t.Logf("before %q: %+v", text, u)
		case <-timeout:
			t.Fatalf("%q of %s was not delivered", text, path)
		}
	}
}

// TestNamedFilesAreWatched by events alone, in folders of their own, along the
// links that Kubernetes mounts secrets with, and when they are named only later.
func TestNamedFilesAreWatched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"etc", "plain", "mount", "late"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	config, plain, late := filepath.Join(dir, "etc", "relay.yaml"), filepath.Join(dir, "plain", "secret"), filepath.Join(dir, "late", "secret")
	mount := filepath.Join(dir, "mount")
	mounted := filepath.Join(mount, "secret")
	swap := func(text string) {
		old, _ := os.Readlink(filepath.Join(mount, "..data"))
		version, err := os.MkdirTemp(mount, "..version_")
		must(t, err)
		write(t, filepath.Join(version, "secret"), text)
		must(t, os.Symlink(filepath.Base(version), filepath.Join(mount, "..data_tmp")))
		must(t, os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
		if old != "" {
			must(t, os.RemoveAll(filepath.Join(mount, old)))
		}
	}
	write(t, plain, "one")
	swap("one")
	must(t, os.Symlink("..data/secret", mounted))
	write(t, config, "config\n"+plain+"\n"+mounted+"\n")
	w := namedEvents(t, config)
	for _, text := range []string{"two", "three"} { // twice: a watch may be lost at the first
		write(t, plain, text)
		expectNamed(t, w, plain, text)
		swap(text)
		expectNamed(t, w, mounted, text)
		write(t, plain+".new", text+" renamed")
		must(t, os.Rename(plain+".new", plain))
		expectNamed(t, w, plain, text+" renamed")
	}
	// Named only now, and not there yet.
	write(t, config, "config\n"+late+"\n")
	expect(t, w, "config\n"+late+"\n")
	write(t, late, "one")
	expectNamed(t, w, late, "one")
	write(t, late, "two")
	expectNamed(t, w, late, "two")
}

// TestNamedFilesSaySo: what is the same is no news, an error is said once, and
// the poll finds what no event tells.
func TestNamedFilesSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{hint: make(chan struct{}, 1), data: "x\n/s", started: time.Now()}
		secret := &fake{data: "one"}
		opts := Options{Path: "x", Read: f.read, Named: lines, ReadNamed: secret.read}
		first := Once(opts)
		opts.Last, opts.LastNamed = first.Data, first.Named
		ctx, stop := context.WithCancel(t.Context())
		w := start(ctx, opts, f, nil)
		if u := next(w, 10*time.Second); u != nil {
			t.Errorf("nothing changed, but %+v", u)
		}
		if !slices.Equal(f.follows(), []string{"/s"}) {
			t.Errorf("follows %q", f.follows())
		}
		for _, want := range []File{{Data: []byte("two")}, {Err: errors.New("gone")}, {Data: []byte("one")}} {
			secret.set(string(want.Data), want.Err)
			u := next(w, 2*DefaultPoll)
			if u == nil || !u.Named["/s"].same(want) || u.Source != Changed || string(u.Data) != "x\n/s" {
				t.Errorf("want %+v, got %+v", want, u)
			}
			if u := next(w, 10*time.Second); u != nil {
				t.Errorf("said again: %+v", u)
			}
		}
		f.set("x", nil)
		if u := next(w, 5*time.Second); u == nil || u.Named != nil {
			t.Errorf("got %+v", u)
		}
		secret.set("three", nil)
		if u := next(w, 10*time.Second); u != nil || len(f.follows()) != 0 {
			t.Errorf("a file that is not named any more: %+v, follows %q", u, f.follows())
		}
		stop()
		w.Wait()
	})
}

// A secret that stands by itself in Named must have been read.
func TestReadNamedOfAnotherFile(t *testing.T) {
	t.Parallel()
	if _, err := (Update{}).ReadNamed("/x"); err == nil {
		t.Error("what was not read has no error")
	}
}

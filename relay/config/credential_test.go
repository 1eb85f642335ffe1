// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestCredential(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state", "plumbline")
	path := filepath.Join(dir, "credential")
	if _, err := KeptCredential(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before it was made: %v", err)
	}
	first, created, err := Credential(dir)
	if err != nil || !created || first.Name != "plumbline" || len(first.Password) < 20 {
		t.Fatalf("%+v %v %v", first, created, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if again, created, err := Credential(dir); again != first || created || err != nil {
		t.Errorf("again: %+v %v %v", again, created, err)
	}
	if kept, err := KeptCredential(dir); kept != first || err != nil {
		t.Errorf("kept: %+v %v", kept, err)
	}

	for _, damage := range []string{"", "\n", "plumbline", ":x", "a:", "a:b\nc:d\n", "\x00\x01:x"} {
		if err := os.WriteFile(path, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		u, created, err := Credential(dir)
		if err != nil || !created || u.Password == first.Password {
			t.Errorf("after %q: %+v %v %v", damage, u, created, err)
		}
		if kept, err := KeptCredential(dir); kept != u || err != nil {
			t.Errorf("after %q kept: %+v %v", damage, kept, err)
		}
	}
	if left, _ := filepath.Glob(path + "-*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestCredentialOfOthers: what may be known to others or is no plain file is
// refused with what to do, never overwritten.
func TestCredentialOfOthers(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(path string) error{
		"readable":  func(p string) error { return errors.Join(os.WriteFile(p, []byte("a:b\n"), 0o600), os.Chmod(p, 0o644)) },
		"a folder":  func(p string) error { return os.Mkdir(p, 0o700) },
		"a symlink": func(p string) error { return os.Symlink("/etc/hostname", p) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "credential")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			u, created, err := Credential(dir)
			if err == nil || created || u != (User{}) || !strings.Contains(err.Error(), path) {
				t.Errorf("%+v %v %v", u, created, err)
			}
		})
	}
}

func TestCredentialMadeByTwo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		seen = map[User]int{}
		made int
	)
	for range 16 {
		wg.Go(func() {
			u, created, err := Credential(dir)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if created {
				made++
			}
			seen[u]++
		})
	}
	wg.Wait()
	if len(seen) != 1 || made != 1 {
		t.Errorf("%d credentials, made %d times", len(seen), made)
	}
}

func TestStateDir(t *testing.T) {
	for _, test := range []struct{ state, home, want string }{
		{"/s", "/h", "/s/plumbline"},
		{"", "/h", "/h/.local/state/plumbline"},
		{"relative", "/h", "/h/.local/state/plumbline"},
		{"", "", ""},
	} {
		t.Setenv("XDG_STATE_HOME", test.state)
		t.Setenv("HOME", test.home)
		got, err := StateDir()
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%+v: %q %v", test, got, err)
		}
	}
}

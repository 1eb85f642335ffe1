// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/relay/stage"
	"plumbline/relay/testbed"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// layout is how a config file lies there, and how it is edited.
type layout struct {
	name string
	// lay makes the folder so that the file can be written through its path.
	lay  func(t *testing.T, dir string)
	edit func(t *testing.T, dir, text string)
}

func plain(*testing.T, string) {}

// swap is what kubelet does to a mounted ConfigMap.
func swap(t *testing.T, dir, text string) {
	t.Helper()
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

// layouts are the ways in which people and programs edit a file.
var layouts = []layout{
	{"slow write in place", plain, func(t *testing.T, dir, text string) {
		f, err := os.OpenFile(filepath.Join(dir, "relay.yaml"), os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		third := len(text) / 3
		for _, part := range []string{text[:third], text[third : 2*third], text[2*third:]} {
			_, err := f.WriteString(part)
			must(t, err)
			time.Sleep(200 * time.Millisecond) // slowness is what is tested: longer than any debounce
		}
		must(t, f.Close())
	}},
	{"atomic rename", plain, func(t *testing.T, dir, text string) {
		rewrite(t, filepath.Join(dir, "relay.yaml"), text)
	}},
	{"editor backup and rename", plain, func(t *testing.T, dir, text string) {
		must(t, os.Rename(filepath.Join(dir, "relay.yaml"), filepath.Join(dir, "relay.yaml~")))
		write(t, filepath.Join(dir, "relay.yaml"), text)
		must(t, os.Remove(filepath.Join(dir, "relay.yaml~")))
	}},
	{"removed, made again, edited", plain, func(t *testing.T, dir, text string) {
		must(t, os.Remove(filepath.Join(dir, "relay.yaml")))
		write(t, filepath.Join(dir, "relay.yaml"), "")
		write(t, filepath.Join(dir, "relay.yaml"), text)
	}},
	{"kubernetes symlink swap", func(t *testing.T, dir string) {
		swap(t, dir, "")
		must(t, os.Symlink("..data/relay.yaml", filepath.Join(dir, "relay.yaml")))
	}, swap},
	{"folder replaced", plain, func(t *testing.T, dir, text string) {
		must(t, os.Mkdir(dir+".new", 0o700))
		write(t, filepath.Join(dir+".new", "relay.yaml"), text)
		must(t, os.Rename(dir, dir+".old"))
		must(t, os.Rename(dir+".new", dir))
		must(t, os.RemoveAll(dir+".old"))
	}},
	{"target of a symlink edited", func(t *testing.T, dir string) {
		must(t, os.Mkdir(filepath.Join(dir, "..", "elsewhere"), 0o700))
		must(t, os.Symlink("../elsewhere/real.yaml", filepath.Join(dir, "relay.yaml")))
	}, func(t *testing.T, dir, text string) {
		write(t, filepath.Join(dir, "..", "elsewhere", "real.yaml"), text)
	}},
}

// Every way of editing, twice, under traffic: the new config is applied under a
// generation of its own, and the client loses nothing.
func TestEditsUnderTraffic(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, testbed.Options{})
			c := stage.Config{Dir: s.folder(), Name: s.bed.Name()}
			config := filepath.Join(c.Dir, "etc", "plumbline")
			must(t, os.MkdirAll(config, 0o700))
			l.lay(t, config)
			c.File = filepath.Join(config, "relay.yaml")
			s.start(c)
			s.wait("relay.started", 0, nil)
			s.peer()
			end := s.startCoturn(stage.Uclient{Clients: 2, Messages: 300, Length: 171, Interval: 10 * time.Millisecond})
			s.flowing("kernel", 0)
			for n := 1; n <= 2; n++ {
				after := s.now()
				c.Extra = fmt.Sprintf("allocations: {default_lifetime: %dm}\n", 10+n)
				l.edit(t, config, c.YAML())
				s.reloaded(after, "watch", func(e logs.ConfigLoaded) bool {
					return strings.Contains(asJSON(e.Changes), fmt.Sprintf("%dm", 10+n))
				})
			}
			// A file that reads differently is applied, even where it means the same.
			after := s.now()
			l.edit(t, config, c.YAML()+"# a remark\n")
			s.reloaded(after, "watch", func(e logs.ConfigLoaded) bool { return len(e.Changes) == 0 })
			end()
			mostlyKernel(t, s.finish(), 1200)
		})
	}
}

// reloaded waits for a config.loaded that is the one meant, and its
// config.applied with both sides equal; it returns the generation.
func (s *scene) reloaded(after uint64, source string, meant func(logs.ConfigLoaded) bool) uint32 {
	s.Helper()
	var e logs.ConfigLoaded
	s.wait("config.loaded", after, func(l stage.Line) bool {
		e = logs.ConfigLoaded{}
		return l.Decode(&e) == nil && meant(e)
	})
	if e.Source != source {
		s.Errorf("config %d was loaded because of %s, want %s", e.Generation, e.Source, source)
	}
	if a := s.applied(e.Generation); a.Digest != e.Digest || a.Kernel.Generation != e.Generation {
		s.Errorf("config %d with digest %s was applied as %s", e.Generation, e.Digest, asJSON(a))
	}
	return e.Generation
}

// What is refused changes nothing: not the kernel, not a byte; and it says where
// the mistake is. SIGHUP applies what is there, also when it is the same.
func TestRefusedAndForcedReloads(t *testing.T) {
	needs(t, "turnutils_uclient", "turnutils_peer")
	t.Parallel()
	s := play(t, testbed.Options{}, stage.Config{})
	c := stage.Config{Dir: dirOf(s.relay.ConfigFile), Name: s.relay.Name}
	s.peer()
	end := s.startCoturn(stage.Uclient{Clients: 2, Messages: 500, Length: 171, Interval: 10 * time.Millisecond})
	s.flowing("kernel", 0)
	before := s.activeSlot()
	refused := func(text string, check func(logs.ConfigRejected) bool) {
		t.Helper()
		after := s.now()
		rewrite(t, s.relay.ConfigFile, text)
		var e logs.ConfigRejected
		l := s.wait("config.rejected", after, nil)
		if err := l.Decode(&e); err != nil || e.KeptGeneration != 1 || e.Source != "watch" || e.Path != s.relay.ConfigFile || !check(e) {
			t.Errorf("config.rejected is %s (%v)", l.Raw, err)
		}
		if got := s.activeSlot(); got != before {
			t.Errorf("a refused config changed the kernel's to %x, from %x", got, before)
		}
	}
	lines := strings.Count(c.YAML(), "\n")
	refused(c.YAML()+"realy: {}\n", func(e logs.ConfigRejected) bool {
		return e.Line == lines+1 && e.Column == 1 && strings.Contains(e.Error, "realy")
	})
	refused(c.YAML()+"allocations: {ports: 5-4}\n", func(e logs.ConfigRejected) bool {
		return e.Line == lines+1 && e.Column == 22 && strings.Contains(e.Error, "ports")
	})
	refused("", func(e logs.ConfigRejected) bool { return e.Error != "" })
	other := c
	other.Name, other.Offload = "other", "{interface: lo, mode: native}"
	refused(strings.Replace(other.YAML(), "9464", "9465", 1)+"listen: [\"0.0.0.0:5349\"]\nallocations: {total: 50}\n", func(e logs.ConfigRejected) bool {
		return has(e.Error, "relay.name", "listen", "offload.interface", "offload.mode", "admin.http", "restart") == nil
	})
	if code, out := s.command("relay", "check", s.relay.ConfigFile); code != 0 {
		t.Errorf("relay check of a file that a start would take: exit %d\n%s", code, out)
	}

	after := s.now()
	rewrite(t, s.relay.ConfigFile, c.YAML()) // good again: other bytes than those last read
	if g := s.reloaded(after, "watch", func(e logs.ConfigLoaded) bool { return len(e.Changes) == 0 }); g != 2 {
		t.Errorf("the good file is generation %d, want 2", g)
	}
	for want := uint32(3); want <= 5; want++ {
		after := s.now()
		must(t, s.relay.Signal(syscall.SIGHUP))
		if g := s.reloaded(after, "signal", func(e logs.ConfigLoaded) bool { return len(e.Changes) == 0 }); g != want {
			t.Errorf("SIGHUP made generation %d, want %d", g, want)
		}
	}
	end()
	got := mostlyKernel(t, s.finish(), 2000)
	if got.Kernel.Reasons["config_unset"] != 0 {
		t.Errorf("packets met half a config: %s", asJSON(got.Kernel.Reasons))
	}
}

// SPDX-License-Identifier: Apache-2.0

package logstest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

// failing notes that a check failed instead of failing.
type failing struct {
	testing.TB
	said []string
}

func (f *failing) Helper()                      {}
func (f *failing) Logf(string, ...any)          {}
func (f *failing) Errorf(s string, args ...any) { f.said = append(f.said, fmt.Sprintf(s, args...)) }
func (f *failing) Fatalf(s string, args ...any) { f.Errorf(s, args...) }
func (f *failing) Fatal(args ...any)            { f.said = append(f.said, fmt.Sprint(args...)) }

// CheckDir must find each kind of damage; a check that can't fail checks nothing.
func TestCheckDirFinds(t *testing.T) {
	t.Parallel()
	edit := func(change func(lines [][]byte) [][]byte) func(*testing.T, []string) {
		return func(t *testing.T, files []string) {
			text, err := os.ReadFile(files[1])
			if err != nil {
				t.Fatal(err)
			}
			lines := change(bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")))
			out := append(bytes.TrimSuffix(bytes.Join(lines, nil), []byte("\n")), '\n')
			if err := os.WriteFile(files[1], out, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	swap := func(old, new string) func(*testing.T, []string) {
		return edit(func(lines [][]byte) [][]byte {
			for i := range lines {
				lines[i] = bytes.Replace(lines[i], []byte(old), []byte(new), 1)
			}
			return lines
		})
	}
	for name, c := range map[string]struct {
		damage func(*testing.T, []string)
		finds  string
	}{
		"nothing":          {func(*testing.T, []string) {}, ""},
		"a missing line":   {edit(func(l [][]byte) [][]byte { return append(l[:2:2], l[3:]...) }), "seq is not"},
		"a repeated line":  {edit(func(l [][]byte) [][]byte { return append(l[:2:2], l[1:]...) }), "seq is not"},
		"swapped lines":    {edit(func(l [][]byte) [][]byte { l[1], l[2] = l[2], l[1]; return l }), "seq is not"},
		"no log.opened":    {edit(func(l [][]byte) [][]byte { return l[1:] }), "first line is not log.opened"},
		"more after close": {edit(func(l [][]byte) [][]byte { return append(append(l[:4:4], append(l[4], '\n')), l[1]) }), "follow log.closed"},
		"a missing file":   {func(t *testing.T, files []string) { _ = os.Remove(files[1]) }, "previous is not"},
		"a renamed file": {func(t *testing.T, f []string) {
			_ = os.Rename(f[1], filepath.Join(filepath.Dir(f[1]), "relay-20010101T000000.000Z.log"))
		}, "calls itself"},
		"a wrong count":    {swap(`"lines":5`, `"lines":6`), "counts"},
		"another run":      {swap(`"run":"R"`, `"run":"S"`), "seq is not"},
		"an unknown event": {swap(`"event":"diagnostic"`, `"event":"unheard"`), "not in the catalogue"},
		"a cut file":       {func(t *testing.T, f []string) { _ = os.Truncate(f[1], 900) }, "cut"},
		"an empty file":    {func(t *testing.T, f []string) { _ = os.Truncate(f[1], 0) }, "is empty"},
		"a hole unsaid":    {swap(`"seq":8`, `"seq":9`), "seq is not"},
	} {
		dir := t.TempDir()
		w, err := logs.NewWriter(logs.WriterOptions{Dir: dir, Relay: "edge-1", Run: "R", Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for i := range 3 {
				w.Log(logs.Diagnostic{Level: logs.Info, Text: fmt.Sprint("line ", i)})
			}
			if err := w.Rotate("signal"); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close("shutdown"); err != nil {
			t.Fatal(err)
		}
		names, err := logstest.Files(dir)
		if err != nil || len(names) != 4 {
			t.Fatal(names, err)
		}
		var paths []string
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n))
		}
		c.damage(t, paths)
		f := &failing{TB: t}
		logstest.CheckDir(f, dir)
		said := strings.Join(f.said, "\n")
		if c.finds == "" && said != "" || !strings.Contains(said, c.finds) {
			t.Errorf("%s: wanted to hear %q, heard:\n%s", name, c.finds, said)
		}
	}
}

func TestRecorderWaits(t *testing.T) {
	t.Parallel()
	var r logstest.Recorder
	r.Log(logs.ConfigObserved{Generation: 1})
	go r.Log(logs.ConfigObserved{Generation: 2})
	for _, g := range []uint32{2, 1} {
		ev := r.WaitFor(t, func(ev logs.Event) bool { return ev.(logs.ConfigObserved).Generation == g }, 10*time.Second)
		if ev.(logs.ConfigObserved).Generation != g {
			t.Errorf("got %v", ev)
		}
	}
	if n := len(r.Named("config.observed")); n != 2 {
		t.Errorf("%d events", n)
	}
	r.Reset()
	f := &failing{TB: t}
	if ev := r.WaitForName(f, "config.observed", time.Millisecond); ev != nil || len(f.said) != 1 {
		t.Errorf("got %v, said %v", ev, f.said)
	}
}

// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

func TestOthersTakeTheFileAway(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		do   func(t *testing.T, dir string)
		says string
		kept bool // "one" can still be read
	}{
		"deleted": {func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, logs.LiveFile))) }, "deleted or renamed", false},
		"renamed": {func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, logs.LiveFile), filepath.Join(dir, "relay.log.1")))
		}, "deleted or renamed", false},
		"folder deleted": {func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }, "deleted or renamed", false},
		"emptied":        {func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, logs.LiveFile), 0)) }, "cut from", false},
		"cut": {func(t *testing.T, dir string) {
			st, err := os.Stat(filepath.Join(dir, logs.LiveFile))
			must(t, err)
			must(t, os.Truncate(filepath.Join(dir, logs.LiveFile), st.Size()-5))
		}, "cut from", false},
		"replaced": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "new"), []byte("{}\n"), 0o600))
			must(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, logs.LiveFile)))
		}, "replaced", false},
		"written to": {func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, logs.LiveFile), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("garbage")
			must(t, errors.Join(err, f.Close()))
		}, "written to by another program", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "logs")
			asked := make(chan string, 10)
			w := open(t, logs.WriterOptions{Dir: dir, OnCheckpoint: func(reason string) { asked <- reason }})
			<-asked
			w.Log(note("one"))
			must(t, w.Flush())
			c.do(t, dir)
			w.Log(note("two"))
			must(t, w.Flush())
			if got := <-asked; got != "file" {
				t.Errorf("asked for a checkpoint %q", got)
			}
			w.Log(note("three"))
			closed(t, w)
			text, err := os.ReadFile(filepath.Join(dir, logs.LiveFile))
			must(t, err)
			var lines []logstest.Line
			for _, raw := range bytes.SplitAfter(bytes.TrimSpace(text), []byte("\n")) {
				if err := logs.ValidateLine(raw); err != nil {
					t.Errorf("%v: %s", err, raw)
				}
				var l logstest.Line
				must(t, json.Unmarshal(raw, &l))
				lines = append(lines, l)
			}
			// The first file had seq 1 and 2; "two" was not written anywhere yet.
			if lines[0].Event != "log.opened" || lines[0].Seq != 3 || !strings.Contains(string(text), c.says) ||
				!strings.Contains(string(text), "with seq 1 to 2") || !strings.Contains(string(text), `"two"`) {
				t.Errorf("the new file holds\n%s", text)
			}
			if c.kept {
				if got := events(logstest.CheckDir(t, dir)); got != "log.opened one log.opened diagnostic two three log.closed" {
					t.Errorf("the folder holds %s", got)
				}
			}
		})
	}
}

// A folder that lost its write permission still has a file that can be written.
func TestARotationThatFailsGoesOnInTheOpenFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := &faulty{}
	w := open(t, logs.WriterOptions{Dir: dir, Settings: logs.Settings{MaxSize: logs.MinMaxSize}}.On(disk))
	disk.set(func(d *faulty) { d.rename = unix.EACCES })
	for i := range 1000 { // several times MaxSize
		w.Log(note("line %d", i))
	}
	must(t, w.Flush())
	w.Log(logs.ConfigLoaded{Digest: strings.Repeat("d", 60_000), Source: "start"}) // one line beyond all limits
	must(t, w.Flush())
	names, err := logstest.Files(dir)
	must(t, err)
	if len(names) != 1 {
		t.Fatalf("files %v", names)
	}
	disk.heal()
	for i := range 1000 {
		w.Log(note("line %d", 1000+i))
	}
	closed(t, w)
	n, said := 0, 0
	for _, l := range logstest.CheckDir(t, dir) {
		switch {
		case strings.HasPrefix(l.Message, "line "):
			n++
		case strings.Contains(l.Message, "can't be rotated"):
			said++
		}
	}
	if n != 2000 || said != 1 {
		t.Errorf("%d of 2000 lines, said %d times", n, said)
	}
	if names, _ = logstest.Files(dir); len(names) < 10 {
		t.Errorf("files %v", names)
	}
}

func TestTheNextFileCantBeMade(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := &faulty{}
	w := open(t, logs.WriterOptions{Dir: dir}.On(disk))
	w.Log(note("one"))
	disk.set(func(d *faulty) { d.create = unix.ENOSPC })
	if err := w.Rotate("signal"); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	w.Log(note("two"))
	if w.Flush() == nil {
		t.Fatal("no fault")
	}
	disk.heal()
	must(t, w.Flush())
	closed(t, w)
	if got := events(logstest.CheckDir(t, dir)); got != "log.opened one log.closed log.opened two diagnostic log.closed" {
		t.Errorf("got %s", got)
	}
}

// Rotation was half done when the folder went away.
func TestTheFolderGoesBetweenTwoFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	disk := &faulty{}
	w := open(t, logs.WriterOptions{Dir: dir}.On(disk))
	disk.set(func(d *faulty) { d.create = unix.ENOSPC })
	if w.Rotate("signal") == nil {
		t.Fatal("no fault")
	}
	must(t, os.RemoveAll(dir))
	disk.heal()
	w.Log(note("one"))
	waitUntil(t, "the folder is made again", func() bool { return w.Flush() == nil })
	closed(t, w)
	text, err := os.ReadFile(filepath.Join(dir, logs.LiveFile))
	if err != nil || !bytes.Contains(text, []byte(`"one"`)) {
		t.Errorf("%v\n%s", err, text)
	}
}

// A file that has its final name but still owes its last line must not be packed.
func TestAFileIsPackedOnlyWhenItIsWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk := &faulty{}
	w := open(t, logs.WriterOptions{Dir: dir}.On(disk))
	w.Log(note("one"))
	must(t, w.Flush())
	ours := filepath.Join(dir, w.Status().File)
	disk.set(func(d *faulty) { d.write, d.room = unix.ENOSPC, 0 })
	if w.Rotate("signal") == nil {
		t.Fatal("no fault")
	}
	if _, err := os.Stat(ours); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"relay-20010101T000000.000Z.log", "relay-20010101T000000.001Z.log"} {
		// Once the second of these is packed, the sweep that packed the first
		// has passed by ours.
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("x\n"), 0o600))
		must(t, w.Reconfigure(logs.Settings{Compress: "zstd"}))
		packed := filepath.Join(dir, name+".zst")
		waitUntil(t, "another file is packed", func() bool { _, err := os.Stat(packed); return err == nil })
	}
	if _, err := os.Stat(ours); err != nil {
		t.Fatalf("packed too early: %v", err)
	}
	disk.heal()
	must(t, w.Flush())
	waitUntil(t, "ours is packed", func() bool { _, err := os.Stat(ours + ".zst"); return err == nil })
	closed(t, w)
	for _, name := range []string{"relay-20010101T000000.000Z.log.zst", "relay-20010101T000000.001Z.log.zst"} {
		must(t, os.Remove(filepath.Join(dir, name)))
	}
	if got := events(logstest.CheckDir(t, dir)); got != "log.opened one log.closed log.opened diagnostic log.closed" {
		t.Errorf("got %s", got)
	}
}

// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"os"
	"path/filepath"
	"testing"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

func TestKeepRemovesOnlyOurOldest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	foreign := []string{"relay-notes.log", "relay-20261124T032212.120Z.log.bak", "relay-20261324T032212.120Z.log", "other.log"}
	for _, name := range append(foreign, "relay-20010101T000000.000Z.log", "relay-20010101T000000.001Z.log.zst") {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "relay-20000101T000000.000Z.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	w := open(t, logs.WriterOptions{Dir: dir, Settings: logs.Settings{Keep: 2}})
	for range 4 {
		w.Log(note("a line"))
		if err := w.Rotate("signal"); err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, "two rotated files are left", func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "relay-20*Z.log*"))
		return len(names) == 2+3 // and three that are not ours
	})
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	closed(t, w)
}

func TestCompressedFilesHoldTheSameLines(t *testing.T) {
	t.Parallel()
	for how, ext := range map[string]string{"zstd": ".zst", "gzip": ".gz"} {
		dir := t.TempDir()
		w := open(t, logs.WriterOptions{Dir: dir, Settings: logs.Settings{Compress: how, MaxSize: logs.MinMaxSize}})
		for i := range 500 {
			w.Log(note("line %d", i))
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "all rotated files are packed", func() bool {
			plain, _ := filepath.Glob(filepath.Join(dir, "relay-*.log"))
			packed, _ := filepath.Glob(filepath.Join(dir, "relay-*.log"+ext))
			return len(plain) == 0 && len(packed) >= 3
		})
		closed(t, w)
		n := 0
		for _, l := range logstest.CheckDir(t, dir) {
			if l.Event == "diagnostic" {
				n++
			}
		}
		if n != 500 {
			t.Errorf("%s: %d of 500 lines", how, n)
		}
	}
	if err := open(t, logs.WriterOptions{}).Reconfigure(logs.Settings{Compress: "lzma"}); err == nil {
		t.Error("an unknown compression was accepted")
	}
}

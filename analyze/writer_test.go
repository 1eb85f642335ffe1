// SPDX-License-Identifier: Apache-2.0

package analyze_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"plumbline/analyze/loggen"
	"plumbline/logs"
)

// What the relay's own writer leaves on disk, rotated and compressed, is read
// back whole.
func TestReadsWhatTheWriterWrites(t *testing.T) {
	t.Parallel()
	for _, compress := range []string{"none", "zstd", "gzip"} {
		t.Run(compress, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			var want []string
			for run := range 2 {
				w, err := logs.NewWriter(logs.WriterOptions{
					Dir: dir, Relay: "edge-1", Version: "0.1.0",
					Settings: logs.Settings{Severity: logs.Info, MaxSize: logs.MinMaxSize, Compress: compress},
				})
				if err != nil {
					t.Fatal(err)
				}
				for i := range 300 {
					text := fmt.Sprintf("run %d line %d %s <&> \"ü\"", run, i, strings.Repeat("x", i))
					want = append(want, text)
					w.Log(logs.Diagnostic{Level: logs.Info, Text: text})
				}
				if err := w.Close("shutdown"); err != nil {
					t.Fatal(err)
				}
			}
			got := readAll(nil, dir)
			if len(got.bad)+len(got.notes)+len(got.errs)+len(got.detail) > 0 {
				t.Errorf("bad %q, notes %q, errors %q, ignored %q", got.bad, got.notes, got.errs, got.detail)
			}
			if got.stats.Runs != 2 || got.stats.Files < 4 {
				t.Errorf("%+v", got.stats)
			}
			for i, line := range got.lines[1:] {
				if a, b := seq(t, got.lines[i]), seq(t, line); b != a+1 && b != 1 {
					t.Errorf("seq %d follows %d", b, a)
				}
			}
			all := strings.Join(got.lines, "\n")
			at := 0
			for _, text := range want {
				i := strings.Index(all[at:], strings.ReplaceAll(text, `"`, `\"`))
				if i < 0 {
					t.Fatalf("%q is missing, or not in its place", text)
				}
				at += i
			}
		})
	}
}

func seq(t *testing.T, line string) (n uint64) {
	t.Helper()
	_, rest, _ := strings.Cut(line, `"seq":`)
	if _, err := fmt.Sscan(strings.TrimRight(strings.SplitN(rest, ",", 2)[0], "}"), &n); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return n
}

// The simulated relay writes what the schema of the log allows, and nothing
// else: what is tested with it is tested with a relay's log.
func TestGeneratedLinesKeepTheSchema(t *testing.T) {
	t.Parallel()
	for _, offload := range []bool{true, false} {
		r := loggen.NewRelay("edge-1", "run-1", loggen.Start, 3)
		r.Offload, r.FileLines = offload, 40
		r.Emit = func(name string, data []byte) {
			for line := range bytes.Lines(data) {
				if err := logs.ValidateLine(line); err != nil {
					t.Errorf("%s: %v: %s", name, err, line)
				}
			}
		}
		r.Start("")
		for range 12 {
			r.Round(4)
		}
		r.Reconfigure(50000, 50999)
		r.Observe()
		r.Stop()
	}
}

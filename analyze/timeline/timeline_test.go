// SPDX-License-Identifier: Apache-2.0

package timeline

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumbline/analyze"
	"plumbline/analyze/loggen"
	"plumbline/logs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// show prints the timeline of files, given by name.
func show(t *testing.T, files map[string][]byte, opt Options) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	r := analyze.Open([]string{dir}, analyze.Options{OnError: func(err error) { t.Error(err) }})
	defer r.Close()
	p := New(&out, opt)
	for {
		l, err := r.Next()
		if err != nil {
			break
		}
		if err := p.Line(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func story() *loggen.Relay {
	r := loggen.NewRelay("edge-1", "20261124T032212.120Z-4f21", loggen.Start, 7)
	r.Start("")
	r.Round(2)
	r.Reconfigure(50000, 50999)
	r.Observe()
	no := false
	kernel := logs.RouterConfig{Valid: &no, ListenPorts: []uint16{}}
	r.Line(logs.ConfigDrifted{Generation: 2, Intended: logs.RouterConfig{}, Kernel: kernel, DetectedBy: "periodic", Diff: []logs.Difference{
		{Field: "lowest_port", Intended: 50000, Kernel: 0}, {Field: "highest_port", Intended: 50999, Kernel: 0}}})
	r.Line(logs.ConfigRepaired{Generation: 2, Verified: true})
	r.After(20*time.Hour + 40*time.Minute)
	r.Line(logs.Diagnostic{Level: logs.Debug, Text: "another day\x1b[2J"})
	r.Stop()
	return r
}

func TestGolden(t *testing.T) {
	t.Parallel()
	lines := story().Lines
	whole := bytes.Join(lines, nil)
	holed := bytes.Join(append(append([][]byte{}, lines[:12]...), lines[14:]...), nil)
	second := loggen.NewRelay("edge-2", "20261124T032213.000Z-77aa", loggen.Start.Add(3*time.Millisecond), 3)
	second.Offload = false
	second.Start("relay-20261123T010101.000Z.log")
	for name, c := range map[string]struct {
		files map[string][]byte
		opt   Options
	}{
		"whole.txt":    {map[string][]byte{"relay.log": whole}, Options{}},
		"color.txt":    {map[string][]byte{"relay.log": whole}, Options{Color: true}},
		"hole.txt":     {map[string][]byte{"relay.log": holed}, Options{}},
		"middle.txt":   {map[string][]byte{"relay.log": bytes.Join(lines[20:], nil)}, Options{}},
		"relays.txt":   {map[string][]byte{"relay-1.log": whole, "relay.log": second.Bytes()}, Options{Relays: true}},
		"together.txt": {map[string][]byte{"relay-1.log": whole, "relay.log": second.Bytes()}, Options{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, name, []byte(show(t, c.files, c.opt)))
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", path, got)
	}
}

// A reload's line says what changed against the config before, even where a
// selection shows only the later one.
func TestSelectionKeepsContext(t *testing.T) {
	t.Parallel()
	sel, err := analyze.NewSelector(analyze.Selection{Event: "config.applied", Since: loggen.Start.Add(5 * time.Second), Until: loggen.Start.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	got := show(t, map[string][]byte{"relay.log": story().Bytes()}, Options{Select: sel})
	const want = "config 2 applied and verified in 41 µs: ports 49152-65535 → 50000-50999\n"
	if lines := strings.SplitAfter(got, "\n"); len(lines) != 3 || !strings.HasSuffix(lines[1], want) || !strings.Contains(lines[0], "pid 812") {
		t.Errorf("got\n%s", got)
	}
}

// Lines about CPUs are joined only where they follow each other.
func TestObservationsAreNotJoinedOverAHole(t *testing.T) {
	t.Parallel()
	l := loggen.NewLog("r", "1", loggen.Start).Add(logs.ConfigObserved{Generation: 1, CPU: 0}, logs.ConfigObserved{Generation: 1, CPU: 1})
	l.Seq += 2
	l.Add(logs.ConfigObserved{Generation: 1, CPU: 2}, logs.ConfigObserved{Generation: 2, CPU: 3})
	got := show(t, map[string][]byte{"relay.log": l.Bytes()}, Options{})
	const want = `2026-11-24 r run 1
03:22:12.120  INFO  config 1 seen in effect on cpu 0, 1
              ----  2 lines of this run are missing here (seq 3 to 4)
03:22:12.122  INFO  config 1 seen in effect on cpu 2
03:22:12.123  INFO  config 2 seen in effect on cpu 3
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Every line of a log gives a line with its message, but for those that are
// joined or told better.
func TestNothingIsLeftOut(t *testing.T) {
	t.Parallel()
	r := loggen.NewRelay("edge-1", "run", loggen.Start, 9)
	r.FileLines = 50
	files := map[string][]byte{}
	lines := 0
	r.Emit = func(name string, data []byte) {
		files[name] = bytes.Clone(data)
		lines += bytes.Count(data, []byte("\n"))
	}
	r.Start("")
	for range 10 {
		r.Round(5)
	}
	r.Stop()
	got := show(t, files, Options{})
	observed := r.CPUs - 1
	if n := strings.Count(got, "\n"); n != lines-observed+1 {
		t.Errorf("%d lines for %d lines of log", n, lines)
	}
}

// What a pipe has brought so far is shown before the next line is waited for.
func TestPipeIsShownAtOnce(t *testing.T) {
	t.Parallel()
	in, feed := io.Pipe()
	out := make(chan string, 100)
	lines := story().Lines
	go func() {
		var p *Printer
		r := analyze.Open([]string{"-"}, analyze.Options{Stdin: in, OnIdle: func() { _ = p.Flush() }})
		p = New(writer(func(b []byte) { out <- string(b) }), Options{})
		for {
			l, err := r.Next()
			if err != nil {
				break
			}
			_ = p.Line(l)
		}
		_ = p.Close()
		close(out)
	}()
	go func() { _, _ = feed.Write(bytes.Join(lines[:8], nil)) }()
	seen := ""
	deadline := time.After(10 * time.Second)
	for strings.Count(seen, "\n") < 9 {
		select {
		case s := <-out:
			seen += s
		case <-deadline:
			t.Fatalf("only this is shown while the pipe is open:\n%s", seen)
		}
	}
	feed.Close()
	for range out {
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

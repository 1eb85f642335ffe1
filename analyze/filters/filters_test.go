// SPDX-License-Identifier: Apache-2.0

package filters

import (
	"bytes"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"plumbline/analyze"
	"plumbline/analyze/loggen"
	"plumbline/logs"
)

// jq is stock jq; without it what is compared with it cannot be tested.
func jq(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("jq")
	if err != nil {
		if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
			t.Fatal("needs jq: apt install jq")
		}
		t.Skip("needs jq: apt install jq; the filters were NOT compared with stock jq")
	}
	return path
}

// logFolder holds two runs with every kind of event that a filter reads.
func logFolder(t *testing.T) (string, []string) {
	t.Helper()
	dir := t.TempDir()
	var names []string
	emit := func(r *loggen.Relay) func(string, []byte) {
		return func(name string, data []byte) {
			if name == "relay.log" && r.Run == "run-1" {
				name = r.File()
			}
			path := filepath.Join(dir, name)
			names = append(names, path)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := loggen.NewRelay("edge-1", "run-1", loggen.Start, 5)
	first.FileLines, first.Emit = 60, emit(first)
	first.Start("")
	for range 12 {
		first.Round(6)
	}
	r := first
	peer := logs.Addr{}
	if err := peer.UnmarshalJSON([]byte(`"[2001:db8::9]:443"`)); err != nil {
		t.Fatal(err)
	}
	path, no := "/etc/plumbline/relay.yaml", false
	for _, e := range []logs.Event{
		logs.ConfigLoaded{Generation: 2, Path: &path, Source: "signal"},
		logs.ConfigLoaded{Generation: 2, Path: &path, Source: "watch", Changes: []logs.Change{{Field: "offload.udp_checksum", From: true, To: false}, {Field: "logs.keep", From: 30, To: "forever"}}},
		logs.ConfigApplied{Generation: 2, Verified: &no, DurationUS: 2400, Diff: []logs.Difference{{Field: "abi", Intended: 1, Kernel: 0}}},
		logs.ConfigApplied{Generation: 3, DurationUS: 7},
		logs.ConfigRejected{Path: path, Source: "watch", Error: "unknown key \"x\"", Line: 3, Column: 1, KeptGeneration: 3},
		logs.ConfigRolledBack{Generation: 4, KeptGeneration: 3, Step: "flip", Error: "no"},
		logs.ConfigDrifted{Generation: 3, Diff: []logs.Difference{{Field: "listen_ports", Intended: []int{3478}, Kernel: []int{}}, {Field: "enabled", Intended: true, Kernel: false}}},
		logs.ConfigRepaired{Generation: 3, Verified: true},
		logs.RouteDrifted{Class: "missing", Route: logs.Route{Allocation: "a-1", Channel: 0x4001, Peer: peer, Generation: 3}, Direction: "to_peer"},
		logs.RouteDrifted{Class: "different", Route: logs.Route{Allocation: "a-1", Channel: 0x4001, Peer: peer}, Intended: &logs.RouteSide{ExpiryNS: 1<<53 + 1}, Diff: []logs.Difference{{Field: "ifindex", Intended: 2, Kernel: 3}}},
		logs.RouteDrifted{Class: "unexpected", Kernel: &logs.RouteSide{Key: "198.51.100.9:1 → 203.0.113.7:3478"}},
		logs.RouteRepaired{Class: "unexpected", Verified: false},
		logs.AllocationRejected{Client: peer, User: "eve", Code: 486, Reason: "quota of 10 allocations reached", Count: 12, WindowS: 10},
		logs.PermissionDenied{Allocation: "a-1", Peer: "10.0.0.1", Rule: "10.0.0.0/8 is private", Code: 403},
		logs.ChannelRejected{Allocation: "a-1", Channel: 0x4002, Peer: peer, Code: 400, Reason: "bound otherwise"},
		logs.RouteDecision{Client: peer, Direction: "to_peer", Datapath: "userspace", Verdict: "drop", Reason: "too_long", Packets: 7, Bytes: 99},
		logs.Diagnostic{Level: logs.Error, Text: "quotes \" backslash \\ <&> \u2028 tab\t ü €"},
	} {
		r.Line(e)
	}
	r.Seq += 3 // a hole
	r.Line(logs.Dropped{Count: 3, FirstSeq: r.Seq - 2, LastSeq: r.Seq, Reason: "queue_full"})
	r.Crash()
	second := loggen.NewRelay("edge-1", "run-2", r.Now, 6)
	second.FileLines, second.Emit = 200, emit(second)
	second.Start(first.File())
	for range 5 {
		second.Round(3)
	}
	second.Stop()
	slices.Sort(names)
	return dir, names
}

func runFilter(t *testing.T, f Filter, args map[string]string, dir string) string {
	t.Helper()
	r := analyze.Open([]string{dir}, analyze.Options{OnError: func(err error) { t.Error(err) }})
	defer r.Close()
	var out bytes.Buffer
	if err := f.Run(r, args, &out, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Every embedded filter gives the same bytes under both engines, without
// arguments and with.
func TestBothEnginesAgree(t *testing.T) {
	stock := jq(t)
	dir, files := logFolder(t)
	for _, f := range List() {
		for _, args := range []map[string]string{nil, {"client": "198.51.184.27", "us": "10", "n": "2"}} {
			t.Run(f.Name+" "+strings.Join(slices.Sorted(maps.Keys(args)), " "), func(t *testing.T) {
				got := runFilter(t, f, args, dir)
				cmd := []string{"-n", "-r"}
				for k, v := range args {
					cmd = append(cmd, "--arg", k, v)
				}
				program := filepath.Join(t.TempDir(), f.Name+".jq")
				if err := os.WriteFile(program, []byte(f.Text), 0o600); err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command(stock, append(append(cmd, "-f", program), files...)...).CombinedOutput()
				if err != nil {
					t.Fatalf("jq: %v: %s", err, out)
				}
				if got != string(out) {
					t.Errorf("gojq:\n%s\njq:\n%s", got, out)
				}
				if args == nil && got == "" {
					t.Error("the filter gives nothing, so that nothing was compared")
				}
				if strings.Contains(got, "null") {
					t.Errorf("null in the output:\n%s", got)
				}
			})
		}
	}
}

// The one-liner that everybody will type prints a sentence for every line.
func TestOneLinerPrintsNoNull(t *testing.T) {
	stock := jq(t)
	dir, files := logFolder(t)
	out, err := exec.Command("sh", "-c", `cd "$1" && cat *.log | "$2" -r '"\(.time) \(.severity) \(.message)"'`, "sh", dir, stock).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if bytes.Contains(out, []byte("null")) {
		t.Errorf("null in\n%s", out)
	}
	lines := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(data, []byte("\n"))
	}
	if n := bytes.Count(out, []byte("\n")); n != lines {
		t.Errorf("%d lines for %d", n, lines)
	}
	if got := runFilter(t, mustNamed(t, "readable"), nil, dir); got != string(out) {
		t.Error("the filter readable prints something else than the one-liner")
	}
}

func mustNamed(t *testing.T, name string) Filter {
	t.Helper()
	f, err := Named(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEmbeddedFiltersKeepTheRules(t *testing.T) {
	t.Parallel()
	list := List()
	if len(list) < 6 {
		t.Errorf("only %d filters", len(list))
	}
	name := regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	for _, f := range list {
		if !name.MatchString(f.Name) || f.Does() == "" || strings.HasPrefix(f.Does(), "events:") {
			t.Errorf("%s: name or first comment: %q", f.Name, f.Does())
		}
	}
}

// The header only saves work: without it a filter gives the same.
func TestHeaderDoesNotChangeTheResult(t *testing.T) {
	t.Parallel()
	dir, _ := logFolder(t)
	for _, f := range List() {
		bare := f
		bare.Text = strings.ReplaceAll(f.Text, "# events:", "# without:")
		if got, want := runFilter(t, f, nil, dir), runFilter(t, bare, nil, dir); got != want {
			t.Errorf("%s: with its header\n%s\nwithout\n%s", f.Name, got, want)
		}
	}
}

func TestEachLineAndValues(t *testing.T) {
	t.Parallel()
	l := loggen.NewLog("r", "1", loggen.Start).Add(logs.Diagnostic{Text: "one"}, logs.Diagnostic{Text: "two"})
	src := func() Source { return analyze.Open([]string{"-"}, analyze.Options{Stdin: bytes.NewReader(l.Bytes())}) }
	for _, c := range []struct{ text, want string }{
		{".message", "one\ntwo\n"},
		{"select(.seq == 2) | {b: .seq, a: .message}", `{"a":"two","b":2}` + "\n"},
		{`$ARGS.named.k // "none"`, "v\nv\n"},
		{"$k, null", "v\nnull\nv\nnull\n"},
		{"empty", ""},
		{"9007199254740993", "9007199254740993\n9007199254740993\n"},
	} {
		var out bytes.Buffer
		if err := (Filter{Name: "-e", Text: c.text, Each: true}).Run(src(), map[string]string{"k": "v"}, &out, nil); err != nil || out.String() != c.want {
			t.Errorf("%s: %v %q", c.text, err, out.String())
		}
	}
	var exact bytes.Buffer
	big := loggen.NewLog("r", "1", loggen.Start).Add(logs.RouteDecision{Bytes: 1<<53 + 1})
	if err := (Filter{Text: ".bytes", Each: true}).Run(analyze.Open([]string{"-"}, analyze.Options{Stdin: bytes.NewReader(big.Bytes())}), nil, &exact, nil); err != nil || exact.String() != "9007199254740993\n" {
		t.Errorf("2^53+1 became %q, %v", exact.String(), err)
	}
	var out bytes.Buffer
	var said []string
	err := Filter{Name: "-e", Text: `if .seq == 1 then error("no") else .message end`, Each: true}.Run(src(), nil, &out, func(err error) { said = append(said, err.Error()) })
	if err == nil || out.String() != "two\n" || len(said) != 1 || !strings.HasPrefix(said[0], "stdin:1:") {
		t.Errorf("an error in one line: %v, %q, %q", err, out.String(), said)
	}
	for _, text := range []string{"inputs | .x.y.z[", "inputs | nothing_like_it", "# events: [\ninputs"} {
		if err := (Filter{Name: "bad", Text: text}).Run(src(), nil, io.Discard, nil); err == nil || !strings.Contains(err.Error(), "filter bad") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plumbline/analyze/loggen"
	"plumbline/logs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// call runs the program.
func call(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func folder(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func relay() *loggen.Relay {
	r := loggen.NewRelay("edge-1", "20261124T032212.120Z-4f21", loggen.Start, 7)
	r.Start("")
	r.Round(2)
	return r
}

// clean is a log without findings, faulty one with.
func clean() []byte {
	r := relay()
	r.Stop()
	return r.Bytes()
}

func faulty() []byte {
	r := relay()
	r.Line(logs.ConfigRolledBack{Generation: 2, KeptGeneration: 1, Step: "flip", Error: "no"})
	r.Stop()
	return r.Bytes()
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	good := folder(t, map[string][]byte{"relay.log": clean()})
	bad := folder(t, map[string][]byte{"relay.log": faulty()})
	garbage := folder(t, map[string][]byte{"relay.log": append([]byte("garbage\n"), clean()...)})
	nothing := t.TempDir()
	missing := filepath.Join(nothing, "missing")
	program := filepath.Join(nothing, "x.jq")
	if err := os.WriteFile(program, []byte("[inputs] | length"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{[]string{"mismatches", good}, 0, "0 findings in 1 file, 1 run", ""},
		{[]string{"mismatches", bad}, 2, "rolled-back", ""},
		{[]string{"mismatches", "--json", good}, 0, `"findings": []`, ""},
		{[]string{"mismatches", "--json", bad}, 2, `"class": "rolled-back"`, ""},
		{[]string{"mismatches", bad, missing}, 1, "rolled-back", "missing: no such file"},
		{[]string{"mismatches", nothing}, 1, "", "holds no relay.log"},
		{[]string{"mismatches", "--event", "offload.*", bad}, 0, "0 findings", ""},
		{[]string{"mismatches", garbage}, 0, "(and 1 bad line)", "relay.log:1: bad line: not a JSON object"},
		{[]string{"mismatches", folder(t, map[string][]byte{"relay.log": []byte("no log at all\n")})}, 1, "", "not one line"},
		{[]string{"mismatches", "--strict", garbage}, 1, "", "--strict"},
		{[]string{"timeline", good}, 0, "pid 812", ""},
		{[]string{"timeline", bad}, 0, "rolled back", ""},
		{[]string{"timeline", "--json", good}, 0, `{"time":"`, ""},
		{[]string{"timeline", garbage}, 0, "pid 812", "relay.log:1: bad line"},
		{[]string{"timeline", "--strict", garbage}, 1, "", "relay.log:1: bad line"},
		{[]string{"timeline", missing}, 1, "", "no such file"},
		{[]string{"timeline", "--since", "-15m", good}, 0, "", ""},
		{[]string{"timeline", "--since=2026-11-24 03:22:13", good}, 0, "pid 812", ""},
		{[]string{"timeline", "--since", "yesterday", good}, 1, "", "--since"},
		{[]string{"timeline", "--severity", "LOUD", good}, 1, "", "--severity"},
		{[]string{"timeline", "--severity", "WARN", bad}, 0, "rolled back", ""},
		{[]string{"timeline", "--event", "[", good}, 1, "", "glob"},
		{[]string{"timeline", "--client", "me", good}, 1, "", "--client"},
		{[]string{"timeline", "--color", "always", good}, 0, "\x1b[1m", ""},
		{[]string{"timeline"}, 1, "", "analyze --help"},
		{[]string{"nonsense"}, 1, "", "analyze --help"},
		{[]string{}, 1, "", "analyze --help"},
		{[]string{"--help"}, 0, "timeline", ""},
		{[]string{"timeline", "--nonsense", good}, 1, "", "unknown flag"},
		{[]string{"summary", bad}, 0, "rolled-back 1", ""},
		{[]string{"summary", good, missing}, 1, "findings  none", "missing"},
		{[]string{"summary", "--json", good}, 0, `"made": 2`, ""},
		{[]string{"filters"}, 0, "readable", ""},
		{[]string{"filters", "readable"}, 0, "inputs", ""},
		{[]string{"filters", "nonsense"}, 1, "", "there are"},
		{[]string{"filter", "readable", good}, 0, "INFO plumbline 0.1.0 started", ""},
		{[]string{"filter", "readable"}, 1, "", "which log"},
		{[]string{"filter", "nonsense", good}, 1, "", "there is no filter"},
		{[]string{"filter", "-e", ".seq", good}, 0, "1\n2\n", ""},
		{[]string{"filter", "-e", ".seq +", good}, 1, "", "filter -e"},
		{[]string{"filter", "-e", "error", good}, 1, "", "relay.log:1"},
		{[]string{"filter", "-e", "$ARGS.named.k", "--arg", "k", "a=b", good}, 0, "a=b\n", ""},
		{[]string{"filter", "--arg", "k=v", "-e", "$k", good}, 0, "v\n", ""},
		{[]string{"filter", "--arg", "k"}, 1, "", "analyze --help"},
		{[]string{"filter", "--event", "relay.started", "-e", ".pid", good}, 0, "812\n", ""},
		{[]string{"filter", "-f", program, good}, 0, "30\n", ""},
		{[]string{"filter", "-f", missing, good}, 1, "", "missing"},
		{[]string{"filter", "-e", ".", "-f", program, good}, 1, "", "not both"},
		{[]string{"filter", "--strict", "readable", garbage}, 1, "", "--strict"},
	} {
		t.Run(strings.Join(c.args[:min(len(c.args), 4)], " "), func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := call("", c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(stdout, c.stdout) {
				t.Errorf("stdout has no %q:\n%s", c.stdout, stdout)
			}
			if !strings.Contains(stderr, c.stderr) || c.stderr == "" && stderr != "" {
				t.Errorf("stderr, want %q:\n%s", c.stderr, stderr)
			}
		})
	}
}

// From a pipe all is as from a folder.
func TestStdin(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string][]byte{"relay.log": faulty()})
	for _, command := range []string{"timeline", "summary"} {
		_, want, _ := call("", command, dir)
		if code, got, stderr := call(string(faulty()), command, "-"); code != 0 || got != want || stderr != "" {
			t.Errorf("%s -: code %d, stderr %q, stdout\n%s\nfrom the folder\n%s", command, code, stderr, got, want)
		}
	}
	if code, out, _ := call(string(faulty()), "mismatches", "-"); code != 2 || !strings.Contains(out, "stdin:") {
		t.Errorf("mismatches -: %d\n%s", code, out)
	}
	if _, out, _ := call(string(faulty()), "timeline", "--json", "-"); out != string(faulty()) {
		t.Error("timeline --json - does not give the lines themselves")
	}
}

// What the terminal shows of a client's doing must not be the client's to write.
func TestVerbose(t *testing.T) {
	t.Parallel()
	lines := bytes.SplitAfter(clean(), []byte("\n"))
	dir := folder(t, map[string][]byte{"relay.log": clean(), "relay-1.log": lines[0], "core\x1b[2J": {}})
	_, _, quiet := call("", "timeline", dir)
	_, _, stderr := call("", "timeline", "-v", dir)
	if quiet != "" || !strings.Contains(stderr, `core\u001b[2J: not a file of the relay's log, ignored`) || !strings.Contains(stderr, "1 lines came twice") {
		t.Errorf("quiet %q, verbose %q", quiet, stderr)
	}
}

func TestGoldenSummary(t *testing.T) {
	t.Parallel()
	first := relay()
	first.Round(3)
	first.Line(logs.PermissionDenied{Allocation: "a-1", Peer: "10.0.0.1", Rule: "10.0.0.0/8 is private", Code: 403})
	first.Crash()
	second := loggen.NewRelay("edge-1", "20261124T050000.000Z-77aa", loggen.Start.Add(2*time.Hour), 8)
	second.Version, second.Offload = "0.1.1", false
	second.Start(first.File())
	for range 4 {
		second.Round(5)
	}
	second.Stop()
	dir := folder(t, map[string][]byte{first.File(): append(first.Bytes(), "half a line\n"...), "relay.log": second.Bytes()})
	for name, args := range map[string][]string{"summary.txt": {"summary", dir}, "summary.json": {"summary", "--json", dir}} {
		_, got, _ := call("", args...)
		golden(t, name, []byte(got))
	}
}

// --json has the same keys whatever the log holds.
func TestJSONIsStable(t *testing.T) {
	t.Parallel()
	keys := func(data []byte, args ...string) []string {
		dir := folder(t, map[string][]byte{"relay.log": data})
		_, out, _ := call("", append(args, "--json", dir)...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		var names []string
		for k, value := range v {
			names = append(names, k)
			if value == nil {
				t.Errorf("%v: %s is null", args, k)
			}
		}
		slices.Sort(names)
		return names
	}
	for _, command := range []string{"mismatches", "summary"} {
		if a, b := keys(clean(), command), keys(faulty(), command); !slices.Equal(a, b) {
			t.Errorf("%s: %v and %v", command, a, b)
		}
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

// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"plumbline/analyze/loggen"
	"plumbline/logs"
)

// jsonValue draws any JSON value.
func jsonValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kind := rapid.IntRange(0, 6).Draw(t, "kind")
		if depth == 0 {
			kind %= 5
		}
		switch kind {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.Float64Range(-1e12, 1e12).Draw(t, "float")
		case 3:
			return rapid.Int64().Draw(t, "int")
		case 4:
			return rapid.String().Draw(t, "string")
		case 5:
			return rapid.SliceOfN(jsonValue(depth-1), 0, 4).Draw(t, "array")
		}
		return rapid.MapOfN(rapid.String(), jsonValue(depth-1), 0, 4).Draw(t, "object")
	})
}

// validRest must agree with encoding/json on every line, whole or broken.
func TestValidRestAgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		own, err := json.Marshal(rapid.MapOfN(rapid.StringMatching(`[a-z_]{1,9}`), jsonValue(4), 0, 5).Draw(t, "own"))
		if err != nil {
			t.Fatal(err)
		}
		const head = `{"seq":17`
		line := []byte(head)
		if len(own) > 2 {
			line = append(append(line, ','), own[1:]...)
		} else {
			line = append(line, '}')
		}
		for range rapid.IntRange(0, 2).Draw(t, "mutations") {
			at := rapid.IntRange(len(head), len(line)).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				line = line[:at]
			case 1:
				line = append(line[:at:at], append([]byte{rapid.SampledFrom([]byte(`{}[]",:\ 0-1.eEtfnu`+"\x00\x1f\n\xff")).Draw(t, "byte")}, line[at:]...)...)
			case 2:
				if at < len(line) {
					line = append(line[:at:at], line[at+1:]...)
				}
			}
		}
		if !bytes.HasPrefix(line, []byte(head)) || len(line) > len(head) && line[len(head)] >= '0' && line[len(head)] <= '9' {
			t.Skip("the mutation reached the head")
		}
		if got, want := validRest(line, len(head)), json.Valid(line); got != want {
			t.Fatalf("validRest is %v, json.Valid is %v: %q", got, want, line)
		}
	})
}

func TestDeepNestingIsStillJudged(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{1, 62, 63, 64, 65, 200} {
		line := []byte(`{"seq":1,"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + "}")
		if !validRest(line, len(`{"seq":1`)) {
			t.Errorf("depth %d is refused", depth)
		}
		if broken := line[:len(line)-2]; validRest(broken, len(`{"seq":1`)) {
			t.Errorf("depth %d with a bracket missing is taken", depth)
		}
	}
}

var sample = loggen.AppendLine(nil, loggen.Start, "edge-1", "run-1", 17, logs.PermissionCreated{
	Allocation: "a-1", Peer: "192.0.2.9", Expires: logs.Time{Time: loggen.Start},
})

// The fast way and the slow one must read the same from the same line.
func TestBothScansAgree(t *testing.T) {
	t.Parallel()
	raw := bytes.TrimSpace(sample)
	s := scanner{runs: &runs{known: map[[2]string]*Run{}}}
	var fast, slow Line
	if !s.fast(raw, &fast) {
		t.Fatalf("the fast scan refuses what the relay writes: %s", raw)
	}
	if err := s.slow(raw, &slow); err != nil {
		t.Fatal(err)
	}
	var sorted map[string]any
	if err := json.Unmarshal(raw, &sorted); err != nil {
		t.Fatal(err)
	}
	reordered, _ := json.MarshalIndent(sorted, "", " ")
	reordered = bytes.ReplaceAll(reordered, []byte("\n"), nil)
	var other Line
	if s.fast(reordered, &other) {
		t.Fatal("the fast scan takes keys in another order")
	}
	if err := s.scan(reordered, &other); err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]Line{"slow": slow, "reordered": other} {
		if l.Time != fast.Time || l.Seq != fast.Seq || l.Run != fast.Run || l.Severity != fast.Severity ||
			string(l.Message) != string(fast.Message) || string(l.Event) != string(fast.Event) || string(l.Clock) != string(fast.Clock) {
			t.Errorf("%s scan differs:\n%+v\n%+v", name, l, fast)
		}
	}
	if !fast.When().Equal(loggen.Start) || fast.Seq != 17 || fast.Run.Relay != "edge-1" || fast.Run.ID != "run-1" {
		t.Errorf("scanned %+v", fast)
	}
}

func TestFastScanTimeAgreesWithPackageTime(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		var s scanner
		got, ok := s.time([]byte(logs.Time{Time: at}.String()))
		if !ok || got != at.UnixNano() {
			t.Fatalf("%s read as %d, %v", at, got, ok)
		}
	})
}

func TestWhatIsNoLineIsNamed(t *testing.T) {
	t.Parallel()
	whole := string(bytes.TrimSpace(sample))
	for _, c := range []struct{ line, reason string }{
		{"", "empty"},
		{"hello", "not a JSON object"},
		{whole[:len(whole)-10], "cut or broken"},
		{whole + "x", "cut or broken"},
		{whole[:100] + "\x00\x00\x00", "NUL"},
		{"[1]", "not a JSON object"},
		{"{}", "no time"},
		{strings.Replace(whole, `"message":"`, `"message":"","note":"`, 1), "no message"},
		{strings.Replace(whole, `"INFO"`, `"LOUD"`, 1), "severity"},
		{strings.Replace(whole, `"seq":17`, `"seq":0`, 1), "seq"},
		{strings.Replace(whole, `"seq":17`, `"seq":-3`, 1), "seq"},
		{strings.Replace(whole, `2026-11-24T`, `2026-13-24T`, 1), "time"},
		{strings.Replace(whole, `"run":"run-1"`, `"run":null`, 1), "no run"},
	} {
		s := scanner{runs: &runs{known: map[[2]string]*Run{}}}
		var l Line
		err := s.scan([]byte(c.line), &l)
		if err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%q: got %v, want something about %q", c.line, err, c.reason)
		}
	}
}

func TestLogStoresMayGiveNumbersAsStrings(t *testing.T) {
	t.Parallel()
	s := scanner{runs: &runs{known: map[[2]string]*Run{}}}
	var l Line
	err := s.scan([]byte(`{"event":"diagnostic","message":"m","relay":"r","run":"1","seq":"9","severity":"INFO","time":"2026-11-24T03:22:12.12Z"}`), &l)
	if err != nil || l.Seq != 9 || string(l.Clock) != "2026-11-24T03:22:12.120000000Z" {
		t.Fatalf("%v %+v", err, l)
	}
}

// A client chooses its user name. It must not be able to drive the terminal of
// whoever reads the log.
func TestControlCharactersAreShownNotSent(t *testing.T) {
	t.Parallel()
	for nasty, want := range map[string]string{
		"a\x1b[2J\r\nfake\x7f\u009b\u202e\"\\ü→": `a\u001b[2J\u000d\u000afake\u007f\u009b\u202e"\ü→`,
		"\u009b2J": `\u009b2J`, // CSI in one character, which JSON does not escape
		"\x7f":     `\u007f`,
		"µ ü":      "µ ü",
	} {
		raw := loggen.AppendLine(nil, loggen.Start, "r", "1", 1, logs.Diagnostic{Level: logs.Info, Text: nasty})
		s := scanner{runs: &runs{known: map[[2]string]*Run{}}}
		var l Line
		if err := s.scan(bytes.TrimSpace(raw), &l); err != nil {
			t.Fatal(err)
		}
		if got := string(l.AppendMessage(nil)); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestIntervalsAgreeWithASet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s Intervals
		model := map[uint64]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			n := rapid.Uint64Range(1, 40).Draw(t, "seq")
			if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
				last := n + rapid.Uint64Range(0, 6).Draw(t, "more")
				s.AddRange(n, last)
				for i := n; i <= last; i++ {
					model[i] = true
				}
				continue
			}
			if got := s.Add(n); got == model[n] {
				t.Fatalf("Add(%d) is %v, but known is %v", n, got, model[n])
			}
			model[n] = true
		}
		b, ok := s.Bounds()
		if !ok || !model[b.First] || !model[b.Last] {
			t.Fatalf("bounds %v of %v", b, model)
		}
		missing := map[uint64]bool{}
		for _, h := range s.Holes() {
			for i := h.First; i <= h.Last; i++ {
				missing[i] = true
			}
		}
		for i := uint64(0); i <= 60; i++ {
			in := i > b.First && i < b.Last && !model[i]
			if missing[i] != in {
				t.Fatalf("%d: missing %v, want %v", i, missing[i], in)
			}
			if (i < b.First || i > b.Last) && model[i] {
				t.Fatalf("%d is outside of the bounds %v", i, b)
			}
			if s.Contains(Interval{i, i}) != model[i] {
				t.Fatalf("Contains(%d) is %v", i, !model[i])
			}
		}
	})
}

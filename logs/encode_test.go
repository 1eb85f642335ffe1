// SPDX-License-Identifier: Apache-2.0

package logs_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"plumbline/logs"
	"plumbline/logs/logstest"
)

// encoding/json is the reference: what it writes and what we write must mean
// the same, but for lists and maps that are nil.
func TestEncodingMeansWhatEncodingJSONWrites(t *testing.T) {
	t.Parallel()
	for _, ev := range logstest.Examples() {
		reference, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if err := json.Unmarshal(reference, &want); err != nil {
			t.Fatal(err)
		}
		text := logs.AppendEvent(ev)
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v: %s", ev.Name(), err, text)
		}
		if !reflect.DeepEqual(fill(got, want), want) {
			t.Errorf("%s:\n got %s\nwant %s", ev.Name(), text, reference)
		}
		if strings.Contains(string(text), `\u003e`) {
			t.Errorf("%s: > is escaped: %s", ev.Name(), text)
		}
		byPointer := reflect.New(reflect.TypeOf(ev))
		byPointer.Elem().Set(reflect.ValueOf(ev))
		if p := logs.AppendEvent(byPointer.Interface().(logs.Event)); string(p) != string(text) {
			t.Errorf("%s by pointer: %s, by value: %s", ev.Name(), p, text)
		}
	}
}

// fill puts null where want has null and got an empty list or map.
func fill(got, want any) any {
	switch g := got.(type) {
	case map[string]any:
		if want == nil && len(g) == 0 {
			return nil
		}
		w, _ := want.(map[string]any)
		for k := range g {
			g[k] = fill(g[k], w[k])
		}
	case []any:
		if want == nil && len(g) == 0 {
			return nil
		}
		w, _ := want.([]any)
		for i := range min(len(g), len(w)) {
			g[i] = fill(g[i], w[i])
		}
	}
	return got
}

func TestStringsAndNumbersSurviveEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Custom(func(t *rapid.T) string {
			return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		})).Draw(t, "s")
		f := rapid.Float64().Draw(t, "f")
		n := rapid.Uint64().Draw(t, "n")
		text := logs.AppendEvent(logs.AuthRejected{User: s, WindowS: f, Count: n})
		var got struct {
			User    string
			Count   uint64
			WindowS *float64 `json:"window_s"`
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		var want string
		reference, _ := json.Marshal(s)
		_ = json.Unmarshal(reference, &want)
		if got.User != want || got.Count != n || *got.WindowS != f {
			t.Fatalf("%q %g %d came back as %q %g %d", s, f, n, got.User, *got.WindowS, got.Count)
		}
	})
	if text := logs.AppendEvent(logs.AuthRejected{WindowS: math.NaN()}); !json.Valid(text) {
		t.Errorf("NaN breaks the line: %s", text)
	}
}

func TestMessagesPrintAsOneLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + rapid.String().Draw(t, "s")
		p := logs.Printable(s)
		for _, r := range p {
			if !unicode.IsPrint(r) || r == unicode.ReplacementChar && !strings.ContainsRune(s, r) {
				t.Fatalf("%q has %q in it, made of %q", p, r, s)
			}
		}
		if logs.Printable(p) != p {
			t.Fatalf("%q changes once more", p)
		}
	})
	long := logs.Printable(strings.Repeat("é", 5000))
	if len(long) > 2048 || !strings.HasSuffix(long, "…") {
		t.Errorf("a long message ends with %q after %d bytes", long[len(long)-8:], len(long))
	}
}

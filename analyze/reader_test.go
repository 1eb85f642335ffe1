// SPDX-License-Identifier: Apache-2.0

package analyze_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"plumbline/analyze"
	"plumbline/analyze/loggen"
	"plumbline/logs"
)

// result is all that a Reader says.
type result struct {
	lines  []string
	where  []string
	bad    []string
	notes  []string
	errs   []string
	detail []string
	stats  analyze.Stats
}

func readAll(stdin io.Reader, args ...string) result {
	var res result
	r := analyze.Open(args, analyze.Options{
		Stdin:    stdin,
		OnBad:    func(b analyze.Bad) { res.bad = append(res.bad, b.String()) },
		OnNote:   func(s string) { res.notes = append(res.notes, s) },
		OnError:  func(err error) { res.errs = append(res.errs, err.Error()) },
		OnDetail: func(s string) { res.detail = append(res.detail, s) },
	})
	defer r.Close()
	for {
		l, err := r.Next()
		if err != nil {
			break
		}
		res.lines = append(res.lines, string(l.Raw))
		res.where = append(res.where, l.Where())
	}
	res.stats = r.Stats()
	return res
}

func write(t interface{ Fatal(...any) }, path string, data []byte) {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// note makes a run of n lines.
func run(relay, id string, start time.Time, n int) *loggen.Log {
	l := loggen.NewLog(relay, id, start)
	for i := range n {
		l.Add(logs.Diagnostic{Level: logs.Info, Text: fmt.Sprintf("%s %s line %d", relay, id, i+1)})
	}
	return l
}

func texts(lines [][]byte) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.TrimSuffix(string(l), "\n")
	}
	return out
}

// However the lines of any runs are dealt to any files, in what form, and how
// many are there twice: the stream is the same.
func TestMergeDoesNotDependOnFiles(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	nth := 0
	rapid.Check(t, func(t *rapid.T) {
		nth++
		dir := filepath.Join(base, fmt.Sprint(nth))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		type line struct {
			at   time.Time
			text []byte
		}
		var all []line
		for i := range rapid.IntRange(1, 3).Draw(t, "runs") {
			l := loggen.NewLog(fmt.Sprintf("edge-%d", i%2), fmt.Sprintf("run-%d", i), loggen.Start.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "offset"))*time.Millisecond))
			for range rapid.IntRange(1, 30).Draw(t, "lines") {
				l.After(time.Duration(rapid.IntRange(0, 5).Draw(t, "gap")) * time.Millisecond)
				at := l.Now
				l.Add(logs.Diagnostic{Level: logs.Info, Text: fmt.Sprint("line ", l.Seq)})
				all = append(all, line{at, l.Lines[len(l.Lines)-1]})
			}
		}
		// Order of the whole: time, then relay and run, which i orders too.
		slices.SortStableFunc(all, func(a, b line) int { return a.at.Compare(b.at) })
		var want []string
		for _, l := range all {
			want = append(want, strings.TrimSuffix(string(l.text), "\n"))
		}
		// Ties between runs are broken by relay, then run.
		slices.SortStableFunc(want, func(a, b string) int {
			key := func(s string) string {
				i, j := strings.Index(s, `"relay":`), strings.Index(s, `,"seq"`)
				return s[:40] + s[i:j]
			}
			return strings.Compare(key(a), key(b))
		})
		files := make([][]byte, rapid.IntRange(1, 4).Draw(t, "files"))
		twice := 0
		for _, text := range want {
			f := rapid.IntRange(0, len(files)-1).Draw(t, "file")
			files[f] = append(append(files[f], text...), '\n')
			if g := rapid.IntRange(0, 3*len(files)).Draw(t, "again"); g < len(files) && g != f {
				files[g] = append(append(files[g], text...), '\n')
				twice++
			}
		}
		for i, data := range files {
			name := fmt.Sprintf("relay-%d.log", i)
			switch rapid.SampledFrom([]string{"", ".gz", ".zst"}).Draw(t, "form") {
			case ".gz":
				name, data = name+".gz", gzipped(data)
			case ".zst":
				name, data = name+".zst", zstded(data)
			}
			write(t, filepath.Join(dir, name), data)
		}
		got := readAll(nil, dir)
		if !slices.Equal(got.lines, want) {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got.lines, "\n"), strings.Join(want, "\n"))
		}
		if got.stats.Duplicates != twice || len(got.bad) > 0 || len(got.errs) > 0 {
			t.Fatalf("%d duplicates, want %d; bad %v, errors %v", got.stats.Duplicates, twice, got.bad, got.errs)
		}
	})
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	z.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	defer z.Close()
	return z.EncodeAll(b, nil)
}

// Within a run the sequence is the order, whatever the clock did; a clock that
// was set back must not mix runs up either.
func TestClockSetBackKeepsTheOrderOfARun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a := run("edge-1", "run-1", loggen.Start, 3)
	a.After(-time.Hour).Add(logs.Diagnostic{Text: "after the clock was set back"})
	write(t, filepath.Join(dir, "relay-1.log"), bytes.Join(a.Lines[:2], nil))
	write(t, filepath.Join(dir, "relay.log"), bytes.Join(a.Lines[2:], nil))
	got := readAll(nil, dir)
	if want := texts(a.Lines); !slices.Equal(got.lines, want) {
		t.Errorf("got\n%s", strings.Join(got.lines, "\n"))
	}
}

func TestFolderFilesAndForeignFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := run("edge-1", "run-1", loggen.Start, 9)
	write(t, filepath.Join(dir, "relay-20261124T032212.120Z.log.zst"), zstded(bytes.Join(r.Lines[:3], nil)))
	write(t, filepath.Join(dir, "relay-20261124T032213.120Z.log.gz"), gzipped(bytes.Join(r.Lines[3:6], nil)))
	write(t, filepath.Join(dir, "relay.log"), bytes.Join(r.Lines[6:], nil))
	write(t, filepath.Join(dir, "notes.txt"), []byte("not a log\n"))
	write(t, filepath.Join(dir, "relay-old.log.bak"), []byte("not a log\n"))
	if err := os.Mkdir(filepath.Join(dir, "relay-folder.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	got := readAll(nil, dir)
	if !slices.Equal(got.lines, texts(r.Lines)) || len(got.bad) > 0 || len(got.errs) > 0 {
		t.Errorf("%+v", got)
	}
	if len(got.detail) != 3 {
		t.Errorf("ignored: %q", got.detail)
	}
	if got.where[0] != "relay-20261124T032212.120Z.log.zst:1" || got.where[8] != "relay.log:3" {
		t.Errorf("cited as %q", got.where)
	}
	// The same file under two arguments is taken once.
	again := readAll(nil, dir, filepath.Join(dir, "relay.log"))
	if !slices.Equal(again.lines, got.lines) || again.stats.Duplicates != 3 {
		t.Errorf("given twice: %d lines, %d duplicates", len(again.lines), again.stats.Duplicates)
	}
}

// The relay may compress or remove a file between the listing and the reading.
func TestFileThatIsCompressedMeanwhile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := run("edge-1", "run-1", loggen.Start, 6)
	first := filepath.Join(dir, "relay-1.log")
	write(t, first, bytes.Join(r.Lines[:3], nil))
	write(t, filepath.Join(dir, "relay-2.log"), bytes.Join(r.Lines[3:], nil))
	reader := analyze.Open([]string{dir}, analyze.Options{OnError: func(err error) { t.Error(err) }})
	defer reader.Close()
	write(t, first+".zst", zstded(bytes.Join(r.Lines[:3], nil)))
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		if _, err := reader.Next(); err != nil {
			break
		}
		n++
	}
	if n != 6 {
		t.Errorf("%d lines, want 6", n)
	}
}

// The live file is rotated while the folder is read: nothing is lost.
func TestRotationWhileReading(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := run("edge-1", "run-1", loggen.Start, 6)
	live := filepath.Join(dir, "relay.log")
	write(t, live, bytes.Join(r.Lines[:3], nil))
	reader := analyze.Open([]string{dir}, analyze.Options{OnError: func(err error) { t.Error(err) }})
	defer reader.Close()
	if err := os.Rename(live, filepath.Join(dir, "relay-1.log")); err != nil {
		t.Fatal(err)
	}
	write(t, live, bytes.Join(r.Lines[3:], nil))
	l, err := reader.Next()
	if err != nil || l.Seq != 1 {
		t.Fatalf("%v, %v", l, err)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	r := run("edge-1", "run-1", loggen.Start, 200)
	all := texts(r.Lines)
	text := r.Bytes()
	half := r.Lines[5][:90]
	long := append(bytes.Repeat([]byte("x"), 3<<20), '\n')
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	z := zstded(text)
	g := gzipped(text)
	for _, c := range []struct {
		name, file string
		data       []byte
		lines      int
		bad        string // "" for none
		note       string
	}{
		{"whole", "relay.log", text, 200, "", ""},
		{"no newline at the end", "relay.log", bytes.TrimSpace(text), 200, "", ""},
		{"carriage returns", "relay-1.log", bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")), 200, "", ""},
		{"empty", "relay.log", nil, 0, "", ""},
		{"empty gzip", "relay-1.log.gz", nil, 0, "", ""},
		{"half a line, live", "relay.log", join(r.Lines[0], half), 1, "", "relay.log:2: the last line is not finished"},
		{"half a line, rotated", "relay-1.log", join(r.Lines[0], half), 1, "relay-1.log:2: bad line: the file ends within the line", ""},
		{"NUL tail", "relay.log", join(r.Lines[0], make([]byte, 4096)), 1, "relay.log:2: bad line: the file ends within the line, after 4096 bytes (NUL", ""},
		{"garbage between", "relay-1.log", join(r.Lines[0], []byte("garbage\n\x01\x02\n"), r.Lines[1]), 2, "relay-1.log:2-3: 2 bad lines: not a JSON object", ""},
		{"a cut line before a whole one", "relay-1.log", join(r.Lines[0], half, r.Lines[2]), 2, "relay-1.log:2: bad line: 90 bytes of a cut line", ""},
		{"a cut line that ends in a brace", "relay-1.log", join(half, []byte("}}\n"), r.Lines[2]), 1, "relay-1.log:1: bad line: cut or broken JSON", ""},
		{"too long", "relay-1.log", join(r.Lines[0], long, r.Lines[1]), 2, "relay-1.log:2: bad line: longer than", ""},
		{"too long at the end", "relay.log", join(r.Lines[0], bytes.TrimSpace(long)), 1, "relay.log:2: bad line: longer than", ""},
		{"binary", "relay-1.log", join([]byte{0x7f, 'E', 'L', 'F', 0, 1, 2, '\n'}, r.Lines[0]), 1, "relay-1.log:1: bad line", ""},
		{"gzip", "relay-1.log.gz", g, 200, "", ""},
		{"zstd without its suffix", "relay-1.log", z, 200, "", ""},
		{"cut gzip", "relay-1.log.gz", g[:len(g)-9], 200, "the compressed data breaks off here", ""},
		{"cut zstd", "relay-1.log.zst", z[:len(z)-1], -1, "the compressed data breaks off here", ""},
		{"gzip head only", "relay-1.log.gz", g[:5], 0, "the compressed data cannot be read at all", ""},
		{"damaged zstd", "relay-1.log.zst", join(z[:20], []byte("damage"), z[26:]), -1, "the compressed data", ""},
		{"two zstd frames", "relay-1.log.zst", join(zstded(r.Lines[0]), zstded(r.Lines[1])), 2, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, c.file), c.data)
			got := readAll(nil, dir)
			if c.lines >= 0 && len(got.lines) != c.lines {
				t.Errorf("%d lines, want %d", len(got.lines), c.lines)
			}
			for _, l := range got.lines {
				if !slices.Contains(all, l) {
					t.Errorf("a line that was never written: %s", l)
				}
			}
			check := func(kind string, have []string, want string) {
				if want == "" && len(have) > 0 || want != "" && (len(have) != 1 || !strings.Contains(have[0], want)) {
					t.Errorf("%s: %q, want %q", kind, have, want)
				}
			}
			check("bad", got.bad, c.bad)
			check("notes", got.notes, c.note)
			check("errors", got.errs, "")
			// Byte by byte, as a slow pipe gives them, all is the same.
			if len(c.data) < 1<<20 {
				pipe := readAll(iotest.OneByteReader(bytes.NewReader(c.data)), "-")
				if !slices.Equal(pipe.lines, got.lines) {
					t.Errorf("from a slow pipe: %d lines, from the folder %d", len(pipe.lines), len(got.lines))
				}
			}
		})
	}
}

func TestUnreadableInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := run("edge-1", "run-1", loggen.Start, 3)
	write(t, filepath.Join(dir, "relay.log"), r.Bytes())
	got := readAll(nil, dir, filepath.Join(dir, "missing"), t.TempDir())
	if len(got.lines) != 3 || len(got.errs) != 2 || got.stats.Unreadable != 2 {
		t.Errorf("%d lines, errors %q", len(got.lines), got.errs)
	}
	fails := readAll(io.MultiReader(bytes.NewReader(r.Lines[0]), iotest.ErrReader(os.ErrDeadlineExceeded)), "-")
	if len(fails.lines) != 1 || len(fails.errs) != 1 {
		t.Errorf("a pipe that fails: %+v", fails)
	}
}

// A thousand files must not need a thousand descriptors, nor buffers.
func TestManyFilesAreOpenedOneAfterTheOther(t *testing.T) {
	dir := t.TempDir()
	r := loggen.NewLog("edge-1", "run-1", loggen.Start)
	for i := range 16 {
		// More than is read ahead, so that a file that is opened stays open.
		r.Lines = nil
		for range 30 {
			r.Add(logs.Diagnostic{Level: logs.Info, Text: strings.Repeat("x", 60_000)})
		}
		write(t, filepath.Join(dir, fmt.Sprintf("relay-%05d.log", i)), r.Bytes())
	}
	reader := analyze.Open([]string{dir}, analyze.Options{})
	defer reader.Close()
	most := 0
	for n := 0; ; n++ {
		if _, err := reader.Next(); err != nil {
			if n != 16*30 {
				t.Errorf("%d lines", n)
			}
			break
		}
		if n%10 == 0 {
			open := 0
			fds, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				t.Skip("needs /proc")
			}
			for _, fd := range fds {
				if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) {
					open++
				}
			}
			most = max(most, open)
		}
	}
	if most > 3 {
		t.Errorf("%d files were open at once", most)
	}
}

// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
)

// janitor looks after rotated files on a goroutine of its own: syncs them,
// compresses them, and removes the oldest. None of that may hold up the live
// file. Only files whose names are ours are ever removed.
type janitor struct {
	w    *Writer
	wake chan struct{}
	stop chan struct{}
	done chan struct{}
	once sync.Once

	allowed atomic.Bool // the folder is locked, so its files are ours to tidy

	mu      sync.Mutex
	retired []logFile
	ending  string // a file from this name on may still be waiting for log.closed
	said    string // the last complaint, not repeated
}

func newJanitor(w *Writer) *janitor {
	j := &janitor{w: w, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go j.run()
	return j
}

func (j *janitor) poke() { signal(j.wake) }

// begin says that a file is about to get its final name, which is name or comes
// after it, but not yet its last line: it must not be packed before that.
func (j *janitor) begin(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ending = name
}

// retire takes over a file that has got its last line; nil if there is none.
func (j *janitor) retire(f logFile) {
	j.mu.Lock()
	j.ending = ""
	if f != nil {
		j.retired = append(j.retired, f)
	}
	j.mu.Unlock()
	j.poke()
}

// complete says whether a file that was seen under its final name has got its
// last line.
func (j *janitor) complete(name string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.ending == "" || name < j.ending
}

func (j *janitor) run() {
	defer close(j.done)
	for {
		select {
		case <-j.wake:
			j.sweep()
		case <-j.stop:
			j.sync()
			return
		}
	}
}

// close ends the janitor. A compression that is under way is given up; the next
// run takes it up again.
func (j *janitor) close() {
	j.once.Do(func() { close(j.stop) })
	select {
	case <-j.done:
	case <-time.After(closeWithin): // the disk hangs
	}
}

func (j *janitor) sync() {
	j.mu.Lock()
	files := j.retired
	j.retired = nil
	j.mu.Unlock()
	for _, f := range files {
		j.complain(errors.Join(f.Sync(), f.Close()))
	}
}

func (j *janitor) sweep() {
	j.sync()
	if !j.allowed.Load() {
		return
	}
	s := j.w.settings.Load()
	var errs []error
	if s.Keep > 0 {
		errs = append(errs, removeOldest(j.w.opt.Dir, s.Keep))
	}
	errs = append(errs, j.compress(s.Compress))
	j.complain(errors.Join(errs...))
}

// complain logs a failure once for as long as it stays the same.
func (j *janitor) complain(err error) {
	text := ""
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		text = err.Error()
	}
	if text != "" && text != j.said {
		j.w.Log(Diagnostic{Level: Warn, Text: "looking after rotated log files failed", Error: text})
	}
	j.said = text
}

// removeOldest leaves the newest keep rotated files.
func removeOldest(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	byPlain := make(map[string][]string)
	for _, e := range entries {
		if _, plain, ok := ParseFileName(e.Name()); ok && e.Type().IsRegular() {
			byPlain[plain] = append(byPlain[plain], e.Name())
		}
	}
	plains := make([]string, 0, len(byPlain))
	for p := range byPlain {
		plains = append(plains, p)
	}
	slices.Sort(plains)
	var errs []error
	for _, p := range plains[:max(0, len(plains)-keep)] {
		for _, name := range byPlain[p] {
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// compress packs rotated files. The packed file gets its name only when it is
// whole and synced, and the plain one goes after that: where both are seen, both
// are whole.
func (j *janitor) compress(how string) error {
	dir := j.w.opt.Dir
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	have := make(map[string]bool)
	for _, e := range entries {
		name := e.Name()
		if s, ok := strings.CutPrefix(name, "."); ok && strings.HasSuffix(s, partial) {
			if _, _, ours := ParseFileName(strings.TrimSuffix(s, partial)); ours {
				_ = os.Remove(filepath.Join(dir, name)) // an earlier run was cut short
			}
		}
		have[name] = e.Type().IsRegular()
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if _, plain, ok := ParseFileName(name); !ok || plain != name || !have[name] || !j.complete(name) {
			continue
		}
		path := filepath.Join(dir, name)
		if have[name+".zst"] || have[name+".gz"] {
			errs = append(errs, os.Remove(path))
			continue
		}
		ext := map[string]string{"zstd": ".zst", "gzip": ".gz"}[how]
		if ext == "" {
			continue
		}
		if err := j.pack(path, ext); err != nil {
			errs = append(errs, fmt.Errorf("compress %s: %w", path, err))
		}
		select {
		case <-j.stop:
			return nil
		default:
		}
	}
	return errors.Join(errs...)
}

const partial = ".partial"

var errStopped = errors.New("the log is closing")

func (j *janitor) pack(path, ext string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	dir, name := filepath.Split(path)
	temp := dir + "." + name + ext + partial
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			out.Close()
			_ = os.Remove(temp)
			if err == errStopped {
				err = nil
			}
		}
	}()
	var z io.WriteCloser
	if ext == ".gz" {
		z = gzip.NewWriter(out)
	} else if z, err = zstd.NewWriter(out, zstd.WithEncoderConcurrency(1)); err != nil {
		return err
	}
	if _, err = io.Copy(z, stoppable{in, j.stop}); err != nil {
		return err
	}
	if err = errors.Join(z.Close(), out.Sync(), out.Close()); err != nil {
		return err
	}
	if st, e := in.Stat(); e == nil { // collectors and `find -mtime` go by it
		_ = os.Chtimes(temp, st.ModTime(), st.ModTime())
	}
	if err = os.Rename(temp, path+ext); err != nil {
		return err
	}
	return os.Remove(path)
}

// stoppable ends a copy when the janitor is asked to end.
type stoppable struct {
	io.Reader
	stop <-chan struct{}
}

func (s stoppable) Read(b []byte) (int, error) {
	select {
	case <-s.stop:
		return 0, errStopped
	default:
		return s.Reader.Read(b)
	}
}

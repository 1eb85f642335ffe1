// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

var errShortWrite = fmt.Errorf("the file took less than it was given: %w", io.ErrShortWrite)

func (w *Writer) live() string { return filepath.Join(w.opt.Dir, LiveFile) }

// open makes the next live file, as the first of the run, after a rotation, or
// after a fault. Whatever stands under its name is first made whole and moved to
// a name of its own: a file holds one run and begins with log.opened.
func (w *Writer) open() error {
	w.openedLine = w.moment()
	var file logFile
	for file == nil {
		if w.next == "" {
			n, err := w.prepare()
			w.recovered += n
			if err != nil {
				return err
			}
			w.next, w.nextAt = nameAfter(w.openedAt, time.Unix(0, w.openedLine))
		}
		f, err := w.opt.fs.Create(w.live())
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				w.next = "" // the folder is gone: from the beginning, next time
			}
			return err
		}
		if st, err := f.Stat(); err != nil || st.Size() > 0 {
			// Someone else has made a file here since the rename.
			f.Close()
			w.next = ""
			if err != nil {
				return err
			}
			continue
		}
		file = f
	}
	name, openedAt := w.next, w.nextAt
	w.next, w.held = "", false
	w.file, w.name, w.openedAt, w.created = file, name, openedAt, w.opt.Now()
	w.size, w.counted, w.lines, w.firstSeq, w.limit = 0, 0, 0, w.seq+1, 0
	w.shown = checkpointDone
	if w.opt.OnCheckpoint != nil {
		w.shown = checkpointAsked
	}
	w.janitor.poke()
	w.opened = &Opened{Schema: Schema, Version: w.opt.Version, File: name, RecoveredBytes: w.recovered}
	w.recovered = 0
	if w.previous != "" {
		previous := w.previous
		w.opened.Previous = &previous
	}
	return nil
}

// prepare makes the folder ready for a new live file.
func (w *Writer) prepare() (recovered int64, err error) {
	if err := w.opt.fs.Mkdir(w.opt.Dir); err != nil {
		return 0, err
	}
	if err := w.keepLock(); err != nil {
		return 0, err
	}
	if !w.scanned {
		_, newest, err := rotatedFiles(w.opt.Dir)
		if err != nil {
			return 0, err
		}
		if newest.After(w.openedAt) {
			w.openedAt, w.previous = newest, fileName(newest)
		}
		w.scanned = true
	}
	_, err = w.opt.fs.Lstat(w.live())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	removed, name, err := recoverFile(w.live(), w.limit)
	if errors.Is(err, errForeign) {
		aside := w.live() + ".foreign-" + strconv.FormatInt(w.opt.Now().UnixMilli(), 10)
		if err := w.opt.fs.Rename(w.live(), aside); err != nil {
			return 0, err
		}
		w.note(Diagnostic{Level: Warn, Text: fmt.Sprintf("%s is not a log of this relay; it was moved aside to %s", w.live(), filepath.Base(aside))})
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	w.limit = 0
	st, err := w.opt.fs.Lstat(w.live())
	if err != nil {
		return removed, err
	}
	if st.Size() == 0 {
		return removed, nil // nothing is left of it; it is used again
	}
	if name == "" {
		name, _ = nameAfter(w.openedAt, st.ModTime())
	}
	if name, err = renameFree(w.opt.fs, w.live(), w.opt.Dir, name); err != nil {
		return removed, err
	}
	if opened, _, ok := ParseFileName(name); ok && opened.After(w.openedAt) {
		w.openedAt = opened
	}
	w.previous = name
	return removed, nil
}

// keepLock takes the folder, or makes sure that the lock taken is still the
// folder's: whoever removed the folder removed the lock file with it.
func (w *Writer) keepLock() error {
	if w.lock != nil {
		mine, err1 := w.lock.Stat()
		there, err2 := os.Lstat(filepath.Join(w.opt.Dir, lockFile))
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return nil
		}
		w.unlock()
	}
	lock, err := lockDir(w.opt.Dir)
	if err != nil {
		return err
	}
	w.lock = lock
	w.janitor.allowed.Store(true)
	return nil
}

func (w *Writer) unlock() {
	w.janitor.allowed.Store(false)
	if w.lock != nil {
		w.lock.Close()
		w.lock = nil
	}
}

// rotate moves the live file to its final name and begins the next. The rename
// comes first: where it fails (the folder lost its write permission), the file
// that is open can go on, which it could not after a log.closed.
func (w *Writer) rotate(reason string) error {
	w.janitor.begin(w.name)
	name, err := renameFree(w.opt.fs, w.live(), w.opt.Dir, w.name)
	if err != nil {
		w.janitor.retire(nil)
	}
	if errors.Is(err, os.ErrNotExist) {
		if w.inspect(); w.file == nil {
			return nil
		}
	}
	if err != nil {
		if !w.held {
			w.note(Diagnostic{Level: Error, Text: "the log file can't be rotated; it goes on growing to twice its size and is tried again then", Error: err.Error()})
		} else {
			// Even that size is reached: start over, so that the rotation is
			// tried again after as much again, and not at each line.
			w.counted = 0
		}
		w.held = true
		return nil
	}
	w.held = false
	w.name, w.renamed, w.closing = name, true, reason
	w.next, w.nextAt = nameAfter(w.openedAt, time.Unix(0, w.moment()))
	return nil
}

// endFile writes log.closed to a file that has its final name, hands it over to
// be synced, and leaves none open.
func (w *Writer) endFile() error {
	next := w.next
	w.out, w.laid = w.out[:0], w.laid[:0]
	w.own(new(scratch), Closed{Next: &next, Lines: w.lines + 1, Reason: w.closing}, w.moment(), w.seq, unit{what: fromClosed, seqs: 1})
	if err := w.write(); err != nil {
		return err
	}
	w.janitor.retire(w.file)
	w.previous, w.file, w.renamed = w.name, nil, false
	return nil
}

// salvage leaves the file in good order after a failed write: cut back to its
// last whole line. A fault that time alone may heal keeps the file open; after
// any other one the next attempt starts from the folder again.
func (w *Writer) salvage(cause error, torn bool) {
	if torn && w.file.Truncate(w.size) == nil {
		torn = false
	}
	if !torn && (errors.Is(cause, unix.ENOSPC) || errors.Is(cause, unix.EDQUOT)) {
		return
	}
	w.limit = w.size
	w.abandon()
}

// abandon lets go of the open file.
func (w *Writer) abandon() {
	_ = w.file.Close() // its lines are written or counted already
	w.janitor.retire(nil)
	w.file, w.opened, w.renamed, w.next, w.scanned = nil, nil, false, "", false
	if w.lines > 0 {
		w.previous = w.name
	}
}

// inspect looks whether the live file is still the one that is open and as long
// as it was left. Lines written to a deleted file would be lost without a trace.
func (w *Writer) inspect() {
	if w.file == nil || w.renamed {
		return
	}
	mine, err := w.file.Stat()
	if err != nil {
		return // the next write will tell
	}
	what := ""
	there, err := w.opt.fs.Lstat(w.live())
	switch {
	case errors.Is(err, os.ErrNotExist):
		what = "deleted or renamed"
	case err != nil:
		return
	case !os.SameFile(mine, there):
		what = "replaced"
	case mine.Size() < w.size:
		what = fmt.Sprintf("cut from %d to %d bytes", w.size, mine.Size())
	case mine.Size() > w.size:
		what = fmt.Sprintf("written to by another program (%d bytes)", mine.Size()-w.size)
	default:
		return
	}
	was, first := w.name, w.firstSeq
	begun := w.lines > 0
	w.abandon()
	text := fmt.Sprintf("the live log file, to be named %s, was %s by someone else; the log goes on in a new file", was, what)
	if begun {
		text = fmt.Sprintf("the live log file, to be named %s with seq %d to %d, was %s by someone else; the log goes on in a new file",
			was, first, w.seq, what)
	}
	w.note(Diagnostic{Level: Warn, Text: text})
}

// finish writes what is left and the last log.closed.
func (w *Writer) finish(reason string) error {
	w.drain()
	err := w.err
	if err == nil && w.file != nil {
		w.out, w.laid = w.out[:0], w.laid[:0]
		w.own(new(scratch), Closed{Lines: w.lines + 1, Reason: reason}, w.moment(), w.seq, unit{what: fromClosed, seqs: 1})
		if err = w.write(); err == nil {
			err = errors.Join(w.file.Sync(), w.file.Close())
		}
	}
	lost := uint64(len(w.work.lines)-w.work.next) + w.work.hole
	w.mu.Lock()
	lost += uint64(len(w.fill.lines)) + w.fill.hole
	w.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("close the log in %s: %s not written: %w", w.opt.Dir, count(int(lost), "line"), err)
		w.tell(Diagnostic{Level: Error, Text: err.Error()})
	}
	return err
}

// appendTime writes the beginning of a line up to the time's last digit. The
// text of a second is made once.
func (w *Writer) appendTime(b []byte, at int64) []byte {
	t := time.Unix(0, at)
	if s := t.Unix(); s != w.second || len(w.prefix) == 0 {
		w.second = s
		w.prefix = t.UTC().AppendFormat(w.prefix[:0], `{"time":"2006-01-02T15:04:05.`)
	}
	b = append(b, w.prefix...)
	ns := t.Nanosecond()
	var digits [10]byte
	digits[9] = 'Z'
	for i := 8; i >= 0; i-- {
		digits[i] = byte('0' + ns%10)
		ns /= 10
	}
	return append(b, digits[:]...)
}

func appendUint(b []byte, n uint64) []byte { return strconv.AppendUint(b, n, 10) }

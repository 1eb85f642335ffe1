// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ours is how every line of ours begins.
const ours = `{"time":"`

var errForeign = errors.New("not a file of this relay")

// recoverFile makes every line of a file that an earlier run left behind whole,
// and says how many bytes it took away and under which name the file announced
// itself ("" if its first line is gone).
//
// A killed process leaves a cut last line; a power cut may leave zeros, at the
// end or, where blocks reached the disk out of order, before whole lines. Both
// would stop jq for all that follows. limit bounds what is kept, in bytes (0: no bound).
// A file that does not begin like ours gives errForeign and is left as it is.
func recoverFile(path string, limit int64) (removed int64, name string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EISDIR) {
		return 0, "", errForeign
	}
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, "", err
	}
	if !st.Mode().IsRegular() {
		return 0, "", errForeign
	}
	size := st.Size()
	begin := make([]byte, len(ours))
	n, err := f.ReadAt(begin, 0)
	if err != nil && err != io.EOF {
		return 0, "", err
	}
	begin = begin[:n]
	for i, c := range begin {
		if c != ours[i] && c != 0 { // zeros may be all that a power cut left of it
			return 0, "", errForeign
		}
	}
	keep := size
	if limit > 0 {
		keep = min(keep, limit)
	}
	if keep, err = lastWhole(f, keep); err != nil {
		return 0, "", err
	}
	if keep < size {
		if err := f.Truncate(keep); err != nil {
			return 0, "", err
		}
	}
	zeroed, err := dropZeroed(f, keep)
	if err != nil {
		return 0, "", err
	}
	return size - keep + zeroed, announced(f), nil
}

// lastWhole finds the end of the last whole line before end.
func lastWhole(f io.ReaderAt, end int64) (int64, error) {
	buf := make([]byte, maxLine)
	before := func(end int64) ([]byte, int64, error) {
		from := max(0, end-int64(len(buf)))
		n, err := f.ReadAt(buf[:end-from], from)
		if err == io.EOF {
			err = nil
		}
		return buf[:n], from, err
	}
	for end > 0 {
		tail, from, err := before(end)
		if err != nil {
			return 0, err
		}
		nl := bytes.LastIndexByte(tail, '\n')
		if nl < 0 {
			end = from // no line ends here: zeros, or a tail without its end
			continue
		}
		stop := from + int64(nl) // the newline
		text, from, err := before(stop)
		if err != nil {
			return 0, err
		}
		start := bytes.LastIndexByte(text, '\n') + 1
		if whole(text[start:]) {
			return stop + 1, nil
		}
		end = from + int64(start)
	}
	return 0, nil
}

func whole(line []byte) bool {
	return bytes.HasPrefix(line, []byte(ours)) && json.Valid(line)
}

// dropZeroed takes lines with a zero byte in them out of the file. JSON has no
// such byte, so only lines that the disk lost are concerned.
func dropZeroed(f *os.File, size int64) (removed int64, err error) {
	if found, err := hasZero(io.NewSectionReader(f, 0, size)); err != nil || !found {
		return 0, err
	}
	// The good lines move up within the file; what is read is always ahead of
	// what is written.
	in := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<20)
	var to int64
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 && bytes.IndexByte(line, 0) < 0 {
			if _, err := f.WriteAt(line, to); err != nil {
				return 0, err
			}
			to += int64(len(line))
		} else if i := bytes.LastIndexByte(line, 0); i >= 0 && whole(bytes.TrimSuffix(line[i+1:], []byte("\n"))) {
			// A whole line stands right after the zeros.
			if _, err := f.WriteAt(line[i+1:], to); err != nil {
				return 0, err
			}
			to += int64(len(line) - i - 1)
		}
		if err == io.EOF {
			return size - to, f.Truncate(to)
		}
		if err != nil {
			return 0, err
		}
	}
}

func hasZero(r io.Reader) (bool, error) {
	buf := make([]byte, 1<<20)
	for {
		n, err := r.Read(buf)
		if bytes.IndexByte(buf[:n], 0) >= 0 {
			return true, nil
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// announced reads the final name from a file's first line.
func announced(f io.ReaderAt) string {
	buf := make([]byte, 4096)
	n, _ := f.ReadAt(buf, 0)
	first, _, ok := bytes.Cut(buf[:n], []byte("\n"))
	if !ok {
		return ""
	}
	var opened struct{ Event, File string }
	if json.Unmarshal(first, &opened) != nil || opened.Event != (Opened{}).Name() {
		return ""
	}
	if _, plain, ok := ParseFileName(opened.File); !ok || plain != opened.File {
		return ""
	}
	return opened.File
}

// renameFree gives a file its final name, or the next free one after it. It
// never replaces a file.
func renameFree(fs fileSystem, from, dir, name string) (string, error) {
	opened, _, ok := ParseFileName(name)
	for tries := 0; ; tries++ {
		err := fs.Rename(from, dir+string(os.PathSeparator)+name)
		if err == nil || !ok || tries == 100 || !errors.Is(err, os.ErrExist) {
			return name, err
		}
		opened = opened.Add(time.Millisecond)
		name = fileName(opened)
	}
}

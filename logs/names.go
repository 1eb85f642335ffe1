// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"strings"
	"time"
)

// LiveFile is the name of the file that a running relay writes to.
const LiveFile = "relay.log"

// nameLayout is a rotated file's name: the time of its first line, in UTC. It
// sorts by time and before LiveFile ('-' sorts before '.').
const nameLayout = "relay-20060102T150405.000Z.log"

// fileName is the name that a file opened at t gets when it is rotated.
func fileName(t time.Time) string { return t.UTC().Format(nameLayout) }

// ParseFileName reads the name of a rotated file, which may have been
// compressed since (.zst, .gz): when it was opened, and its name before
// compression. ok is false for every other name; such files are not ours and
// are never touched.
func ParseFileName(name string) (opened time.Time, plain string, ok bool) {
	plain = name
	for _, ext := range []string{".zst", ".gz"} {
		if s, cut := strings.CutSuffix(name, ext); cut {
			plain = s
			break
		}
	}
	if len(plain) != len(nameLayout) {
		return time.Time{}, "", false
	}
	opened, err := time.Parse(nameLayout, plain)
	if err != nil || fileName(opened) != plain {
		return time.Time{}, "", false
	}
	return opened, plain, true
}

// nameAfter is the name for a file opened at t. It comes at least 1 ms after
// last even when the clock stepped back, so that names keep the order in which
// files were written.
func nameAfter(last, t time.Time) (name string, opened time.Time) {
	opened = t.UTC().Truncate(time.Millisecond)
	if !opened.After(last) {
		opened = last.Add(time.Millisecond)
	}
	return fileName(opened), opened
}

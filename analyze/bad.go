// SPDX-License-Identifier: Apache-2.0

package analyze

import "fmt"

// Bad is something in a file that is no line: garbage, a cut line, the point
// where compressed data breaks off.
type Bad struct {
	File   *File
	Number int // of the first line, from 1
	Count  int // how many lines in a row are bad in the same way
	Reason string
}

// String cites the place and says what is wrong there.
func (b Bad) String() string {
	if b.Count > 1 {
		return fmt.Sprintf("%s:%d-%d: %d bad lines: %s", b.File.Name, b.Number, b.Number+b.Count-1, b.Count, b.Reason)
	}
	return fmt.Sprintf("%s:%d: bad line: %s", b.File.Name, b.Number, b.Reason)
}

// Stats is what a Reader has met so far.
type Stats struct {
	Files      int `json:"files"`
	Runs       int `json:"runs"`
	Lines      int `json:"lines"`
	BadLines   int `json:"bad_lines"`
	Duplicates int `json:"duplicates"`
	// Unreadable is how many files could not be opened or read to their end.
	Unreadable int `json:"unreadable"`
}

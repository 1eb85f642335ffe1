// SPDX-License-Identifier: Apache-2.0

package loggen

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Start is when generated logs begin unless told otherwise.
var Start = time.Date(2026, 11, 24, 3, 22, 12, 120_000_000, time.UTC)

// Folder writes the log folder of one run with at least size bytes, in files
// of about fileLines lines, and returns how many bytes it holds. Nothing is
// wrong in it.
func Folder(dir string, size int64, fileLines, allocations int, seed uint64) (int64, error) {
	var total int64
	var failed error
	r := NewRelay("edge-1", fmt.Sprintf("20261124T032212.120Z-%06x", seed), Start, seed)
	r.FileLines = fileLines
	r.Emit = func(name string, data []byte) {
		total += int64(len(data))
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil && failed == nil {
			failed = err
		}
	}
	r.Start("")
	for round := 0; failed == nil; round++ {
		r.Round(allocations)
		if round%50 == 20 {
			r.Reconfigure(50000, 50999+uint16(round%1000))
			r.Observe()
		}
		if total >= size && (fileLines > 0 || size == 0) {
			break
		}
		if fileLines == 0 && int64(len(r.Lines))*300 >= size {
			break
		}
	}
	r.Stop()
	return total, failed
}

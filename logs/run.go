// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"crypto/rand"
	"time"
)

// base32 digits without I, L, O and U, in the order of their values, so that
// ids sort as strings.
const runDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewRun makes the id of one process run: 26 characters, the first ten of which
// are the start in milliseconds and the rest random (the layout of a ULID). Ids
// sort by start.
func NewRun(now time.Time) string {
	var id [26]byte
	ms := uint64(now.UnixMilli())
	for i := 9; i >= 0; i-- {
		id[i] = runDigits[ms&31]
		ms >>= 5
	}
	var random [16]byte
	rand.Read(random[:]) // never fails: it ends the process instead
	for i, b := range random {
		id[10+i] = runDigits[b&31]
	}
	return string(id[:])
}

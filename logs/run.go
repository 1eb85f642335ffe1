// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"crypto/rand"
	"time"
)

// base32 digits without I, L, O and U, in the order of their values, so that
// ids sort as strings.
const runDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// NewRun makes the id of one process run: 26 characters, the layout of a ULID.
// The first ten are the start in milliseconds, the next four its nanoseconds
// within the millisecond, the rest random: ids sort by start, also of two runs
// in one millisecond.
func NewRun(now time.Time) string {
	var id [26]byte
	put(id[:10], uint64(now.UnixMilli()))
	put(id[10:14], uint64(now.Nanosecond()%int(time.Millisecond)))
	var random [12]byte
	rand.Read(random[:]) // never fails: it ends the process instead
	for i, b := range random {
		id[14+i] = runDigits[b&31]
	}
	return string(id[:])
}

// put writes a number with five bits a digit, as wide as its place.
func put(digits []byte, n uint64) {
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = runDigits[n&31]
		n >>= 5
	}
}

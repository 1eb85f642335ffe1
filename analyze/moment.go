// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"time"
)

var layouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999",
	"2006-01-02T15:04",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02 15:04Z07:00",
	"2006-01-02 15:04",
	time.DateOnly,
}

// Moment reads a point in time as people write it: RFC 3339, a date with or
// without a time of day, or a duration before now such as -15m. It is UTC
// unless it carries an offset.
func Moment(s string, now time.Time) (time.Time, error) {
	if d, ok := strings.CutPrefix(s, "-"); ok {
		ago, err := time.ParseDuration(d)
		if err == nil && ago >= 0 {
			return now.Add(-ago).UTC(), nil
		}
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2026-11-24T03:22:12Z, \"2026-11-24 03:22\" (UTC) or -15m", s)
}

// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// suggestion is "; did you mean …?" for an unknown name in a section ("" for
// the top level), or nothing when no key is near.
func suggestion(section, name string) string {
	var near, elsewhere []string
	for _, k := range keys {
		s, last, ok := strings.Cut(k.path, ".")
		if !ok {
			s, last = "", k.path
		}
		if s == section {
			near = append(near, last)
		}
		if last == name {
			elsewhere = append(elsewhere, k.path)
		}
	}
	if section == "" {
		near = append(near, sectionNames()...)
	}
	if s := suggestionAmong(near, name); s != "" {
		return s
	}
	for _, s := range sectionNames() {
		if s == name {
			elsewhere = append(elsewhere, s+" at the top level")
		}
	}
	if len(elsewhere) > 0 {
		return "; did you mean " + strings.Join(elsewhere, " or ") + "?"
	}
	return ""
}

// suggestionAmong compares with the given names only.
func suggestionAmong(names []string, name string) string {
	best, bestAt := "", 3 // more than two slips are another word
	lower := strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	for _, n := range names {
		if d := distance(lower, n, bestAt); d < bestAt && d < len(n)/2+1 {
			best, bestAt = n, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours between two words (optimal string alignment), or limit if it is at
// least that.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(b)], limit)
}

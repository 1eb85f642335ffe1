// SPDX-License-Identifier: Apache-2.0

package analyze

import "slices"

// Interval is a closed range of sequence numbers.
type Interval struct {
	First uint64 `json:"first_seq"`
	Last  uint64 `json:"last_seq"`
}

// Count is how many numbers the interval holds.
func (i Interval) Count() uint64 { return i.Last - i.First + 1 }

// Intervals is a set of sequence numbers, kept as disjoint ranges in order. It
// grows with the number of holes, not with the number of lines. Its zero value
// is empty.
type Intervals struct{ ranges []Interval }

// Add puts n into the set. It is false if n was there already.
func (s *Intervals) Add(n uint64) bool {
	if k := len(s.ranges); k > 0 && s.ranges[k-1].Last+1 == n {
		s.ranges[k-1].Last = n
		return true
	}
	// i is the first range that ends at or after n.
	i, _ := slices.BinarySearchFunc(s.ranges, n, func(r Interval, n uint64) int {
		if r.Last < n {
			return -1
		}
		return 1
	})
	if i < len(s.ranges) && s.ranges[i].First <= n {
		return false
	}
	joinsLeft := i > 0 && s.ranges[i-1].Last+1 == n
	joinsRight := i < len(s.ranges) && s.ranges[i].First == n+1
	switch {
	case joinsLeft && joinsRight:
		s.ranges[i-1].Last = s.ranges[i].Last
		s.ranges = slices.Delete(s.ranges, i, i+1)
	case joinsLeft:
		s.ranges[i-1].Last = n
	case joinsRight:
		s.ranges[i].First = n
	default:
		s.ranges = slices.Insert(s.ranges, i, Interval{n, n})
	}
	return true
}

// AddRange puts first to last into the set.
func (s *Intervals) AddRange(first, last uint64) {
	if last < first {
		return
	}
	merged := Interval{first, last}
	keep := s.ranges[:0:0]
	for _, r := range s.ranges {
		// Written without +1 on Last, which may be the highest number.
		if (r.Last >= merged.First || r.Last+1 == merged.First) && (merged.Last >= r.First || merged.Last+1 == r.First) {
			merged = Interval{min(merged.First, r.First), max(merged.Last, r.Last)}
			continue
		}
		keep = append(keep, r)
	}
	at, _ := slices.BinarySearchFunc(keep, merged.First, func(r Interval, n uint64) int {
		if r.First < n {
			return -1
		}
		return 1
	})
	s.ranges = slices.Insert(keep, at, merged)
}

// Contains is true if all of r is in the set.
func (s *Intervals) Contains(r Interval) bool {
	for _, have := range s.ranges {
		if have.First <= r.First && r.Last <= have.Last {
			return true
		}
	}
	return false
}

// Bounds is the lowest and the highest number; ok is false for an empty set.
func (s *Intervals) Bounds() (b Interval, ok bool) {
	if len(s.ranges) == 0 {
		return Interval{}, false
	}
	return Interval{s.ranges[0].First, s.ranges[len(s.ranges)-1].Last}, true
}

// Holes are the ranges between the lowest and the highest number that are not
// in the set.
func (s *Intervals) Holes() []Interval {
	var holes []Interval
	for i := 1; i < len(s.ranges); i++ {
		holes = append(holes, Interval{s.ranges[i-1].Last + 1, s.ranges[i].First - 1})
	}
	return holes
}

// fresh is true while the set holds one number alone.
func (s *Intervals) fresh() bool {
	return len(s.ranges) == 1 && s.ranges[0].First == s.ranges[0].Last
}

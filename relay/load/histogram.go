// SPDX-License-Identifier: Apache-2.0

package load

import (
	"math/bits"
	"time"
)

// A histogram of times from 0 to about 68 s in fixed memory. A bucket is at most
// 1/32 of its times wide: that is the error of a quantile. Longer times count
// as the longest; the maximum is exact.
type histogram struct {
	buckets [fine * octaves]uint32
	count   uint64
	most    time.Duration
}

const (
	fine    = 32 // buckets per octave, 2^fineBits
	octaves = 32
	// fineBits is how many bits of a time, after its highest, are kept.
	fineBits = 5
)

// bucketOf is exact below fine nanoseconds; then fine buckets an octave.
func bucketOf(d time.Duration) int {
	if d < fine {
		return int(max(d, 0))
	}
	octave := bits.Len64(uint64(d)) - 1 - fineBits
	return min(octave*fine+int(d>>octave), fine*octaves-1)
}

// longest is the longest time in a bucket.
func longest(bucket int) time.Duration {
	octave := max(bucket/fine-1, 0)
	return time.Duration(bucket-octave*fine+1)<<octave - 1
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(d)]++
	h.count++
	h.most = max(h.most, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.count += o.count
	h.most = max(h.most, o.most)
}

// quantile is the time of nearest rank, rounded up to its bucket's longest and
// never above the maximum; 0 without times. q is 0 to 1.
func (h *histogram) quantile(q float64) time.Duration {
	rank := max(uint64(q*float64(h.count)+0.9999999), 1)
	seen := uint64(0)
	for i, n := range h.buckets {
		if seen += uint64(n); n > 0 && seen >= rank {
			if i == len(h.buckets)-1 {
				break // open above
			}
			return min(longest(i), h.most)
		}
	}
	return h.most
}

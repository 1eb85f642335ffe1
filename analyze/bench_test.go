// SPDX-License-Identifier: Apache-2.0

package analyze_test

import (
	"io"
	"testing"

	"plumbline/analyze"
	"plumbline/analyze/loggen"
	"plumbline/analyze/timeline"
)

// BenchmarkTimeline prints the timeline of a folder of 64 MB; MB/s are of log
// that goes in.
func BenchmarkTimeline(b *testing.B) {
	dir := b.TempDir()
	size, err := loggen.Folder(dir, 64<<20, 40_000, 200, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		r := analyze.Open([]string{dir}, analyze.Options{OnError: func(err error) { b.Fatal(err) }})
		p := timeline.New(io.Discard, timeline.Options{})
		lines := 0
		for {
			l, err := r.Next()
			if err == io.EOF {
				break
			}
			if err := p.Line(l); err != nil {
				b.Fatal(err)
			}
			lines++
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
		r.Close()
		b.ReportMetric(float64(lines), "lines")
	}
}

// BenchmarkRead reads the same folder and prints nothing.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	size, err := loggen.Folder(dir, 64<<20, 40_000, 200, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		r := analyze.Open([]string{dir}, analyze.Options{})
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
		r.Close()
	}
}

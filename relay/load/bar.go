// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Bar draws a run's progress in one line of a terminal, again and again.
type Bar struct {
	w     io.Writer
	width func() int // of the terminal in columns
	drawn bool
}

// NewBar is a bar on w, or nil when w is no terminal that can redraw a line.
func NewBar(w io.Writer) *Bar {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return nil
	}
	size := func() (int, bool) {
		s, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0, false
		}
		return int(s.Col), true
	}
	if _, terminal := size(); !terminal {
		return nil
	}
	return &Bar{w: w, width: func() int { n, _ := size(); return n }}
}

// Draw shows progress in place of what was shown before.
func (b *Bar) Draw(p Progress) {
	const cells = 30
	done, text := 0.0, ""
	if p.Elapsed == 0 {
		done = float64(p.Allocations) / float64(max(p.AllocationsWanted, 1))
		text = fmt.Sprintf("%d of %d allocations", p.Allocations, p.AllocationsWanted)
	} else {
		done = p.Elapsed.Seconds() / p.Duration.Seconds()
		text = fmt.Sprintf("%.1f of %.1f s, sent %d, received %d, bad %d", p.Elapsed.Seconds(), p.Duration.Seconds(), p.Sent, p.Received, p.Bad)
	}
	full := int(min(max(done, 0), 1) * cells)
	line := "[" + strings.Repeat("#", full) + strings.Repeat("-", cells-full) + "] " + text
	if width := b.width(); width > 0 && len(line) >= width { // a line that wraps can't be redrawn
		line = line[:width-1]
	}
	fmt.Fprintf(b.w, "\r%s\x1b[K", line)
	b.drawn = true
}

// Clear takes the bar away.
func (b *Bar) Clear() {
	if b.drawn {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

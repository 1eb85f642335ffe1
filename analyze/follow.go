// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// followPoll is how often a file that is followed is looked at. The relay has a
// line in its file within 100 ms.
const followPoll = 100 * time.Millisecond

// follower reads a file that is being written. Its end is not the end: Read
// waits there, until the file has been replaced by another of its name and is
// read to its last byte, or until quit is closed.
type follower struct {
	*os.File
	path string
	quit <-chan struct{}
	// replaced says that the file has been rotated; one more look at its end is
	// due, for what was written before that.
	replaced bool
}

func (f *follower) Read(p []byte) (int, error) {
	tick := time.NewTicker(followPoll)
	defer tick.Stop()
	for {
		n, err := f.File.Read(p)
		if n > 0 || err != io.EOF {
			return n, err
		}
		if f.replaced {
			return 0, io.EOF
		}
		if f.replaced = f.another(); f.replaced {
			continue
		}
		select {
		case <-f.quit:
			return 0, io.EOF
		case <-tick.C:
		}
	}
}

// another is true if the path leads to another file than the one that is open.
// While a rotation is half done, it leads nowhere: then the next one is awaited.
func (f *follower) another() bool {
	now, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	open, err := f.Stat()
	return err == nil && !os.SameFile(now, open)
}

// follow makes the inputs' one live file be followed.
func (in *inputs) follow() error {
	var live *source
	for _, s := range in.sources {
		if s.path == "-" {
			return errors.New("--follow: stdin is read as it comes; follow a folder or a file")
		}
		if s.file.Live || len(in.sources) == 1 {
			if live != nil {
				return errors.New("--follow: only one log can be followed at a time, because a quiet relay would hold up the others")
			}
			live = s
		}
	}
	if live == nil {
		return fmt.Errorf("--follow: there is no %s to follow", liveName)
	}
	live.follow, live.file.Live = true, true
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
)

const liveName = "relay.log"

// rotatedName is what the relay calls files that it has finished.
var rotatedName = regexp.MustCompile(`^relay-[^/]*\.log(\.gz|\.zst)?$`)

// inputs is what the arguments of a command stand for.
type inputs struct {
	sources []*source
	held    []io.Closer
	bytes   int64 // size of all, 0 if a pipe is among them
	errs    []error
	notes   []string
}

// find turns arguments into sources: folders, files, or - for stdin.
func find(args []string, stdin io.Reader, read *atomic.Int64) *inputs {
	in := &inputs{}
	folders, pipe := 0, false
	for _, arg := range args {
		if info, err := os.Stat(arg); err == nil && info.IsDir() {
			folders++
		}
	}
	for _, arg := range args {
		if arg == "-" {
			pipe = true
			in.sources = append(in.sources, &source{file: &File{Name: "stdin"}, path: "-", held: stdin, read: read})
			continue
		}
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			in.errs = append(in.errs, fmt.Errorf("cannot read the log: %w", err))
		case info.IsDir():
			in.folder(arg, folders > 1 || len(args) > 1, read)
		default:
			in.bytes += info.Size()
			name := filepath.Base(arg)
			if len(args) > 1 {
				name = arg
			}
			in.sources = append(in.sources, &source{file: &File{Name: name, Live: filepath.Base(arg) == liveName}, path: arg, read: read})
		}
	}
	if pipe {
		in.bytes = 0
	}
	return in
}

// folder takes a relay's log folder. The live file is opened before the folder
// is listed: if the relay rotates it in between, it is listed a second time,
// and lines that come twice are taken once. The other way round, it could slip
// through.
func (in *inputs) folder(dir string, several bool, read *atomic.Int64) {
	cite := func(name string) string {
		if several {
			return filepath.Join(dir, name)
		}
		return name
	}
	found, failed := len(in.sources), len(in.errs)
	path := filepath.Join(dir, liveName)
	live, err := os.Open(path)
	switch {
	case err == nil:
		if info, err := live.Stat(); err == nil {
			in.bytes += info.Size()
		}
		in.held = append(in.held, live)
		in.sources = append(in.sources, &source{file: &File{Name: cite(liveName), Live: true}, path: path, held: live, read: read})
	case !errors.Is(err, fs.ErrNotExist):
		in.errs = append(in.errs, fmt.Errorf("cannot read the log: %w", err))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		in.errs = append(in.errs, fmt.Errorf("cannot list the log folder: %w", err))
		return
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == liveName, name[0] == '.': // the relay keeps its lock there
			continue
		case !rotatedName.MatchString(name) || e.IsDir():
			in.notes = append(in.notes, fmt.Sprintf("%s: not a file of the relay's log, ignored", cite(name)))
			continue
		}
		if info, err := e.Info(); err == nil {
			in.bytes += info.Size()
		}
		in.sources = append(in.sources, &source{file: &File{Name: cite(name)}, path: filepath.Join(dir, name), read: read})
	}
	if len(in.sources) == found && len(in.errs) == failed {
		in.errs = append(in.errs, fmt.Errorf("%s holds no relay.log and no relay-*.log: give the folder that logs.dir names", dir))
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"plumbline/logs"
)

// newestApplied finds what an instance's log says last of the config that it
// intends: a config.applied, or the checkpoint that opens a file, because the
// apply itself may stand in a file that was rotated away long ago. Files are
// read from the newest back; lines that can't be read are passed over. Of a
// checkpoint only Generation, Digest and Intended are known.
func newestApplied(dir, instance string) (logs.ConfigApplied, bool) {
	files, _ := filepath.Glob(filepath.Join(dir, "relay-*.log*"))
	slices.Sort(files)
	slices.Reverse(files)
	files = append([]string{filepath.Join(dir, "relay.log")}, files...)
	for _, file := range files {
		if a, ok := lastApplied(file, instance); ok {
			return a, true
		}
	}
	return logs.ConfigApplied{}, false
}

func lastApplied(file, instance string) (found logs.ConfigApplied, ok bool) {
	in, err := openLog(file)
	if err != nil {
		return found, false
	}
	defer in.Close()
	lines := bufio.NewReaderSize(in, 64<<10) // no line of ours is longer
	for long := false; ; {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			continue
		case long: // the rest of something that is no line
			long = false
		default:
			if a, is := applied(line, instance); is {
				found, ok = a, true
			}
		}
		if err != nil {
			return found, ok
		}
	}
}

// applied reads a line that says what an instance intends.
func applied(line []byte, instance string) (logs.ConfigApplied, bool) {
	if !bytes.Contains(line, []byte(`"event":"config.applied"`)) && !bytes.Contains(line, []byte(`"event":"checkpoint.started"`)) {
		return logs.ConfigApplied{}, false
	}
	var a struct {
		Relay string `json:"relay"`
		logs.ConfigApplied
	}
	err := json.Unmarshal(line, &a)
	return a.ConfigApplied, err == nil && a.Relay == instance && a.Generation != 0
}

// openLog opens a file of a log, also one that was compressed.
func openLog(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	var in io.Reader = f
	switch {
	case strings.HasSuffix(file, ".zst"):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(f, zstd.WithDecoderConcurrency(1)); err == nil {
			in = d
		}
	case strings.HasSuffix(file, ".gz"):
		in, err = gzip.NewReader(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{in, f}, nil
}

// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ReadFile reads a config file. It never blocks on what is no regular file, and
// reads no more than MaxSize bytes. Errors name the file and what to do.
func ReadFile(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a named pipe waits for somebody to write.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read config %s: %w", path, err)
	case info.IsDir():
		return nil, fmt.Errorf("read config %s: it is a folder, name the file in it", path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read config %s: it is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read config %s: %w", path, err)
	case len(data) > MaxSize:
		return nil, fmt.Errorf("read config %s: it is larger than %d bytes: is it a config?", path, MaxSize)
	}
	return data, nil
}

func openError(path string, err error) error {
	var in *fs.PathError
	if errors.As(err, &in) {
		err = in.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read config %s: %w: check the path", path, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read config %s: %w: let the relay's user read it", path, err)
	}
	return fmt.Errorf("read config %s: %w", path, err)
}

// warnReadable says so when everyone can read a file that holds secrets.
func warnReadable(w io.Writer, path, what string) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 != 0 {
		fmt.Fprintf(w, "%s: warning: it holds %s and everyone on this machine can read it (mode %04o)\n", path, what, info.Mode().Perm())
	}
}

// Load is ReadFile and Parse; a file that can't be read is one problem.
func Load(path string) (*Config, []Problem) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, []Problem{{File: path, Message: err.Error()}}
	}
	return Parse(path, data)
}

// Check writes every problem of a file to w, one FILE:LINE:COL: message a line,
// sorted by place, and returns 1; or its warnings, then a line with its digest,
// and returns 0.
func Check(w io.Writer, path string) int {
	c, problems := Load(path)
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	if c == nil {
		return 1
	}
	for _, warning := range c.Warnings() {
		fmt.Fprintf(w, "%s: warning: %s\n", path, warning)
	}
	if c.holdsSecrets() {
		warnReadable(w, path, "passwords")
	}
	for _, file := range c.SecretFiles() {
		warnReadable(w, file, "a secret")
	}
	if _, err := fmt.Fprintf(w, "%s: ok, digest %s\n", path, c.Digest()); err != nil {
		return 1 // nobody has read what was found
	}
	return 0
}

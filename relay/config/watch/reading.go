// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"errors"
	"maps"

	"plumbline/relay/config"
)

// File is what was found of a file that the watched one names: either Data, or
// Err where it could not be read.
type File struct {
	Data []byte
	Err  error
}

func (f File) same(o File) bool { return sameError(f.Err, o.Err) && bytes.Equal(f.Data, o.Data) }

// Once is one reading without a watcher, such as its caller's first: Last and
// LastNamed of a watcher that is to deliver only what differs from it.
func Once(opts Options) Update {
	return opts.readable().read().update("")
}

// ReadNamed is what was found of a named file when the update was read.
func (u Update) ReadNamed(path string) ([]byte, error) {
	f, ok := u.Named[path]
	if !ok {
		return nil, errors.New("this file was not read")
	}
	return f.Data, f.Err
}

// readable fills in how to read.
func (o Options) readable() Options {
	if o.Read == nil {
		o.Read = config.ReadFile
	}
	if o.ReadNamed == nil {
		o.ReadNamed = o.Read
	}
	if o.Named == nil {
		o.Named = func([]byte) []string { return nil }
	}
	return o
}

// reading is what was found at the path and at those that it names, good or bad.
// It is never changed.
type reading struct {
	data  []byte
	err   error
	names []string // in the order of Options.Named
	named map[string]File
	taken bool // false: nothing was read yet
}

func (o Options) read() reading {
	data, err := o.Read(o.Path)
	if err != nil {
		return reading{err: err, taken: true}
	}
	r := reading{data: data, names: o.Named(data), taken: true}
	if len(r.names) > 0 {
		r.named = make(map[string]File, len(r.names))
	}
	for _, name := range r.names {
		data, err := o.ReadNamed(name)
		if err != nil {
			data = nil
		}
		r.named[name] = File{Data: data, Err: err}
	}
	return r
}

func (r reading) update(source Source) Update {
	return Update{Data: bytes.Clone(r.data), Err: r.err, Named: r.named, Source: source}
}

// same tells whether nothing needs to be said: an error that stays is said once.
func (r reading) same(o reading) bool {
	if !r.taken || !o.taken {
		return r.taken == o.taken
	}
	return sameError(r.err, o.err) && bytes.Equal(r.data, o.data) && maps.EqualFunc(r.named, o.named, File.same)
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Error() == b.Error()
}

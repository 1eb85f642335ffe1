// SPDX-License-Identifier: Apache-2.0

package filters

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"

	"github.com/itchyny/gojq"

	"plumbline/analyze"
)

// Source gives the lines to run over; a Reader is one.
type Source interface{ Next() (*analyze.Line, error) }

// Run runs the filter over the lines and writes what it gives: strings as they
// are, other values as JSON on one line. args are what jq's --arg sets: each is
// $name, and $ARGS.named.name. OnError is told of errors that concern one line
// of a filter that runs once per line; there the rest goes on, as with jq.
func (f Filter) Run(src Source, args map[string]string, w io.Writer, onError func(error)) error {
	query, err := gojq.Parse(f.Text)
	if err != nil {
		return fmt.Errorf("filter %s: %w", f.Name, err)
	}
	globs, err := f.events()
	if err != nil {
		return err
	}
	in := &inputs{src: src, globs: globs, wanted: map[string]bool{}}
	named := make(map[string]any, len(args))
	names, values := []string{"$ARGS"}, []any{map[string]any{"named": named, "positional": []any{}}}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		named[name] = args[name]
		names, values = append(names, "$"+name), append(values, args[name])
	}
	code, err := gojq.Compile(query, gojq.WithVariables(names), gojq.WithInputIter(in))
	if err != nil {
		return fmt.Errorf("filter %s: %w", f.Name, err)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	failed := 0
	if f.Each {
		for {
			v, ok := in.Next()
			if !ok {
				break
			}
			where := in.where
			if err := write(out, code.Run(v, values...)); err != nil {
				var writing writeError
				if errors.As(err, &writing) {
					return err
				}
				failed++
				onError(fmt.Errorf("%s: filter: %w", where, err))
			}
		}
	} else if err := write(out, code.Run(nil, values...)); err != nil {
		out.Flush()
		if in.where != "" {
			return fmt.Errorf("filter %s: at %s: %w", f.Name, in.where, err)
		}
		return fmt.Errorf("filter %s: %w", f.Name, err)
	}
	if err := out.Flush(); err != nil {
		return writeError{err}
	}
	if in.err != nil {
		return in.err
	}
	if failed > 0 {
		return fmt.Errorf("the filter failed on %d lines", failed)
	}
	return nil
}

type writeError struct{ err error }

func (e writeError) Error() string { return "write the filter's output: " + e.err.Error() }
func (e writeError) Unwrap() error { return e.err }

func write(out *bufio.Writer, values gojq.Iter) error {
	for {
		v, ok := values.Next()
		if !ok {
			return nil
		}
		if err, ok := v.(error); ok {
			var halt *gojq.HaltError
			if errors.As(err, &halt) && halt.Value() == nil {
				return nil
			}
			return err
		}
		if s, ok := v.(string); ok {
			_, _ = out.WriteString(s)
		} else {
			b, err := gojq.Marshal(v)
			if err != nil {
				return err
			}
			_, _ = out.Write(b)
		}
		if err := out.WriteByte('\n'); err != nil {
			return writeError{err}
		}
	}
}

// inputs decodes the lines that a filter wants, as it asks for them.
type inputs struct {
	src    Source
	globs  []string // nil: all events
	wanted map[string]bool
	where  string // file:line of the latest
	err    error
}

// Next implements gojq.Iter.
func (in *inputs) Next() (any, bool) {
	for in.err == nil {
		l, err := in.src.Next()
		if err == io.EOF {
			return nil, false
		}
		if err != nil {
			in.err = err
			return nil, false
		}
		if !in.wants(l.Event) {
			continue
		}
		in.where = l.Where()
		// Numbers stay as they are written: 2^53 and above would lose digits.
		dec := json.NewDecoder(bytes.NewReader(l.Raw))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			in.err = fmt.Errorf("%s: %w", in.where, err)
			return nil, false
		}
		return v, true
	}
	return nil, false
}

func (in *inputs) wants(event []byte) bool {
	if in.globs == nil {
		return true
	}
	wanted, known := in.wanted[string(event)]
	if !known {
		for _, g := range in.globs {
			if ok, _ := path.Match(g, string(event)); ok {
				wanted = true
			}
		}
		if len(in.wanted) < 1024 {
			in.wanted[string(event)] = wanted
		}
	}
	return wanted
}

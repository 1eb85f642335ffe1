// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"plumbline/analyze"
	"plumbline/analyze/filters"
)

type filterCommand struct {
	Expression *string   `short:"e" placeholder:"EXPR" help:"Run this jq expression once for each line."`
	File       string    `short:"f" placeholder:"FILE" help:"Run the jq program in this file once; it reads inputs."`
	Arg        namedArgs `placeholder:"NAME VALUE" help:"Set $$NAME and $$ARGS.named.NAME; may be repeated."`
	Args       []string  `arg:"" name:"name-or-log" help:"The name of an embedded filter, unless -e or -f is given; then log folders, files, or - for stdin."`

	selectFlags
}

// namedArgs are jq's --arg, each of two words: a name and a value. NAME=VALUE
// in one word is taken too.
type namedArgs map[string]string

// Decode implements kong.MapperValue.
func (a *namedArgs) Decode(ctx *kong.DecodeContext) error {
	var name, value string
	if err := ctx.Scan.PopValueInto("name", &name); err != nil {
		return err
	}
	name, value, whole := strings.Cut(name, "=")
	if !whole {
		if err := ctx.Scan.PopValueInto("value", &value); err != nil {
			return fmt.Errorf("--arg takes a name and a value: %w", err)
		}
	}
	if *a == nil {
		*a = namedArgs{}
	}
	(*a)[name] = value
	return nil
}

// Run runs a filter over the selected lines.
func (c *filterCommand) Run(s *streams) error {
	f, log, err := c.filter()
	if err != nil {
		return err
	}
	sel, err := c.selector(time.Now())
	if err != nil {
		return err
	}
	rd := c.open(s, log, !isTerminal(s.out), nil)
	err = f.Run(&selected{rd, sel}, c.Arg, s.out, func(err error) { rd.say(err.Error()) })
	_, endErr := rd.end()
	return errors.Join(err, endErr)
}

// filter is the filter that was asked for, and the logs to run it over.
func (c *filterCommand) filter() (filters.Filter, []string, error) {
	var f filters.Filter
	switch {
	case c.Expression != nil && c.File != "":
		return f, nil, errors.New("give -e or -f, not both")
	case c.Expression != nil:
		return filters.Filter{Name: "-e", Text: *c.Expression, Each: true}, c.Args, nil
	case c.File != "":
		text, err := os.ReadFile(c.File)
		if err != nil {
			return f, nil, fmt.Errorf("read the filter: %w", err)
		}
		return filters.Filter{Name: filepath.Base(c.File), Text: string(text)}, c.Args, nil
	}
	f, err := filters.Named(c.Args[0])
	if err == nil && len(c.Args) == 1 {
		err = fmt.Errorf("filter %s: say which log to run it over: a folder, files, or - for stdin", f.Name)
	}
	return f, c.Args[1:], err
}

// selected leaves out the lines that are not wanted.
type selected struct {
	*reading
	sel *analyze.Selector
}

// Next implements filters.Source.
func (s *selected) Next() (*analyze.Line, error) {
	for {
		l, err := s.reading.Next()
		if err != nil || s.sel.Match(l) {
			return l, err
		}
	}
}

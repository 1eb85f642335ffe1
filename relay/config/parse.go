// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// maxProblems is how many problems of one file are told apart.
const maxProblems = 200

// Parse reads and validates the bytes of a config file, and with ReadSecret the
// secret files that it names. path only names the file in problems. It returns either a Config or, sorted by place, every
// problem that it found; never both.
//
// The file is a strict subset of YAML: one document, known keys, each once, of
// the right type. Anchors, aliases, merge keys, tags, directives and complex
// keys are refused, so that a small file can't expand to a large one. A section
// with nothing under it means its defaults. A file with nothing in it does not:
// that is what a file looks like while it is being written, and what an
// operator meant to say with it can't be known.
func Parse(path string, data []byte) (*Config, []Problem) {
	return ParseWith(path, data, ReadSecret)
}

// ParseWith is Parse with another way to the bytes of a secret file, such as one
// that has read them already. Its errors go into problems: they must not tell
// a secret.
func ParseWith(path string, data []byte, secret func(path string) ([]byte, error)) (*Config, []Problem) {
	root, skip, problems := document(data)
	r := newReader(path, skip)
	r.problems, r.secret = problems, secret
	c := defaults()
	switch {
	case root != nil:
		if r.sections(c, root) {
			r.consistent(c)
		}
	case len(problems) == 0:
		r.report(token.Position{}, "the file is empty: to run on defaults, name at least offload.interface, or set offload.enabled to false")
	}
	if len(r.problems) == 0 {
		return c, nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if n := len(r.problems); n > maxProblems {
		last := r.problems[maxProblems]
		last.Message = fmt.Sprintf("%d more problems from here on", n-maxProblems)
		r.problems = append(r.problems[:maxProblems:maxProblems], last)
	}
	for i := range r.problems {
		r.problems[i].File = path
	}
	return nil, r.problems
}

// sections reads the whole tree, if it is one.
func (r *reader) sections(c *Config, root ast.Node) bool {
	top, ok := r.entries("", root, false)
	if !ok {
		return false
	}
	for _, e := range top {
		switch {
		case lookup(e.name) != nil:
			r.value(c, *lookup(e.name), e.value)
		case slices.Contains(sectionNames(), e.name):
			r.section(c, e)
		default:
			r.report(place(e.key), "unknown key %s%s", clip(e.name), suggestion("", e.name))
		}
	}
	return true
}

func (r *reader) section(c *Config, section entry) {
	r.at[section.name] = place(section.key)
	if _, empty := section.value.(*ast.NullNode); empty {
		return
	}
	hide := section.name == "auth"
	keys, ok := r.entries(section.name, section.value, hide)
	if !ok {
		r.badSection(section.name)
		return
	}
	for _, e := range keys {
		path := join(section.name, e.name)
		if k := lookup(path); k != nil {
			r.value(c, *k, e.value)
			continue
		}
		shown := " " + clip(e.name)
		if hide {
			shown = ""
		}
		r.report(place(e.key), "unknown key%s in %s%s", shown, section.name, suggestion(section.name, e.name))
	}
}

// badSection keeps checks quiet that would judge defaults in place of values
// that could not be read.
func (r *reader) badSection(name string) {
	for _, k := range keys {
		if strings.HasPrefix(k.path, name+".") {
			r.bad[k.path] = true
		}
	}
}

// value reads one key, and refuses values that nothing acts on yet.
func (r *reader) value(c *Config, k key, n ast.Node) {
	r.at[k.path] = place(n)
	k.read(r, c, k.path, n)
	if why := pending[k.path]; why != "" && k.show != nil && !r.bad[k.path] && k.show(c) != k.show(defaults()) {
		r.fail(k.path, n, "%s: leave it at %v", why, quoted(k.show(defaults())))
	}
}

func quoted(v any) any {
	if s, ok := v.(string); ok && s == "" {
		return `""`
	}
	return v
}

func lookup(path string) *key {
	for i := range keys {
		if keys[i].path == path {
			return &keys[i]
		}
	}
	return nil
}

func sectionNames() []string {
	var names []string
	for _, k := range keys {
		if section, _, ok := strings.Cut(k.path, "."); ok && !slices.Contains(names, section) {
			names = append(names, section)
		}
	}
	return names
}

// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// reader walks a syntax tree and gathers every problem on its way: it never
// stops at the first.
type reader struct {
	file     string
	problems []Problem
	skip     map[int]bool              // lines whose problem is known already
	at       map[string]token.Position // where a key's value stands
	bad      map[string]bool           // keys that were set, but not to a valid value

	secret func(path string) ([]byte, error) // reads a secret file; nil: none is read
	files  map[string]bool                   // the secret files that are named
	shared token.Position                    // where the shared secret stands
}

func newReader(file string, skip map[int]bool) *reader {
	return &reader{file: file, skip: skip, at: map[string]token.Position{}, bad: map[string]bool{}, files: map[string]bool{}}
}

// fail reports what is wrong with the value of path at n.
func (r *reader) fail(path string, n ast.Node, format string, args ...any) {
	r.bad[path] = true
	if path != "" {
		format = path + ": " + format
	}
	r.report(place(n), format, args...)
}

func (r *reader) report(at token.Position, format string, args ...any) {
	if r.skip[at.Line] {
		return
	}
	r.problems = append(r.problems, Problem{
		File: r.file, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...),
	})
}

// place is where a person sees n begin. The library gives block mappings the
// position of their first colon.
func place(n ast.Node) token.Position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return place(n.Values[0])
		}
	case *ast.MappingValueNode:
		return place(n.Key)
	case *ast.LiteralNode:
		return *n.Start.Position
	}
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return token.Position{Line: 1, Column: 1}
	}
	return *n.GetToken().Position
}

// scalarKind is which YAML types a key takes.
type scalarKind int

const (
	textScalar scalarKind = iota // a string, quoted or not
	wordScalar                   // a string, or a number that stands for itself
	intScalar
	boolScalar
)

// scalar is the text of a scalar of the wanted kind.
func (r *reader) scalar(path string, want scalarKind, n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		// The library reads {name: a: b} as the text "a: b"; YAML does not, and
		// most likely a comma or a line break is missing.
		if n.Token.Type == token.StringType && strings.Contains(n.Value, ": ") {
			r.fail(path, n, "text with a colon and a space in it needs quotes")
			return "", false
		}
		switch want {
		case textScalar, wordScalar:
			return n.Value, true
		case intScalar:
			r.fail(path, n, "want a whole number, found text")
		case boolScalar:
			r.fail(path, n, "want true or false, found text")
		}
	case *ast.LiteralNode:
		return r.scalar(path, want, n.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		_, whole := n.(*ast.IntegerNode)
		switch {
		case want == wordScalar || want == intScalar && whole:
			return n.GetToken().Value, true
		case want == intScalar:
			r.fail(path, n, "want a whole number")
		case want == textScalar:
			r.fail(path, n, "want text, found a number: put it in quotes")
		case want == boolScalar:
			r.fail(path, n, "want true or false, found a number")
		}
	case *ast.BoolNode:
		switch {
		case want == boolScalar && n.Value:
			return "true", true
		case want == boolScalar:
			return "false", true
		case want == textScalar:
			r.fail(path, n, "want text, found true or false: put it in quotes")
		default:
			r.fail(path, n, "want a value, found true or false")
		}
	case *ast.NullNode:
		r.fail(path, n, "no value: give one, or leave the key out for its default")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		r.bad[path] = true // reported when the text was read
	default:
		r.fail(path, n, "want one value, found %s", kind(n))
	}
	return "", false
}

// items are the entries of a list.
func (r *reader) items(path string, n ast.Node) ([]ast.Node, bool) {
	switch n := n.(type) {
	case *ast.SequenceNode:
		return n.Values, true
	case *ast.NullNode:
		r.fail(path, n, "no value: write [] for an empty list, or leave the key out for its default")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		r.bad[path] = true
	default:
		r.fail(path, n, "want a list such as [A, B], found %s", kind(n))
	}
	return nil, false
}

// entry is one KEY: VALUE of a mapping.
type entry struct {
	name  string
	key   ast.Node
	value ast.Node
}

// entries are the keys and values of a mapping; keys that stand there twice or
// are no names are reported and left out. hide keeps the text of keys out of
// reports: where secrets stand, a forgotten colon makes a key of one.
func (r *reader) entries(path string, n ast.Node, hide bool) ([]entry, bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		r.bad[path] = true
		return nil, false
	default:
		r.fail(path, n, "want keys and values, found %s", kind(n))
		return nil, false
	}
	out := make([]entry, 0, len(values))
	first := map[string]int{}
	for _, v := range values {
		name, ok := v.Key.(*ast.StringNode)
		if !ok {
			r.fail(path, v.Key, "want the name of a key here, found %s", kind(v.Key))
			continue
		}
		if line, again := first[name.Value]; again {
			if hide {
				r.report(place(v.Key), "this key stands here twice, first in line %d: remove one of them", line)
			} else {
				r.report(place(v.Key), "%s stands here twice, first in line %d: remove one of them", clip(join(path, name.Value)), line)
			}
			continue
		}
		first[name.Value] = place(v.Key).Line
		out = append(out, entry{name.Value, v.Key, v.Value})
	}
	return out, true
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// clip keeps a report on one line.
func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	}
	return "something else"
}

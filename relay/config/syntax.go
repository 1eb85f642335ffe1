// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// MaxSize is the largest file that is read, in bytes. It holds about
	// 20,000 users; reading it takes well under a second.
	MaxSize = 1 << 20

	// maxNesting bounds brackets in brackets and block entries on one line. The
	// contract needs three. The parser descends by recursion, so an unbounded
	// file could end the process.
	maxNesting = 16

	// maxRefused is how many constructs outside of our YAML subset are listed
	// before the rest of the file is left alone.
	maxRefused = 16
)

// refused are the YAML constructs that the config does without, each with what
// to do instead. Every value then stands where it is used, and no small file
// can expand to a large one.
var refused = map[token.Type]string{
	token.AnchorType:     "anchors (&) are not supported: write the value where it is used, or put it in quotes if it begins with &",
	token.AliasType:      "aliases (*) are not supported: write the value where it is used, or put it in quotes if it begins with *",
	token.MergeKeyType:   "merge keys (<<) are not supported: write the keys where they are used",
	token.TagType:        "tags (!) are not supported: leave the tag out, or put the value in quotes if it begins with !",
	token.DirectiveType:  "directives (%) are not supported: leave the line out",
	token.MappingKeyType: "complex keys (?) are not supported: write KEY: VALUE",
}

// document reads the text of one YAML document. The returned lines hold
// constructs that were reported here: nothing else on them needs a report. root
// is nil when problems make the tree useless, or when the file is empty.
func document(data []byte) (root ast.Node, lines map[int]bool, problems []Problem) {
	if p := readable(data); p != nil {
		return nil, nil, []Problem{*p}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))

	// The YAML library is fuzzed below a recover: whatever it stumbles over is
	// a file that can't be read, never the end of a relay.
	defer func() {
		if recover() != nil {
			root, problems = nil, append(problems, Problem{Message: "not YAML that this program can read"})
		}
	}()
	tokens := lexer.Tokenize(string(data))
	if len(tokens) == 0 {
		return nil, nil, nil
	}
	lines, problems = subset(tokens)
	if problems != nil && lines == nil {
		return nil, nil, problems
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		p := syntaxProblem(err)
		if !lines[p.Line] {
			problems = append(problems, p)
		}
		return nil, lines, problems
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType {
			continue
		}
		if root == nil {
			root = doc.Body
			continue
		}
		at := doc.Body.GetToken().Position
		if doc.Start != nil {
			at = doc.Start.Position
		}
		problems = append(problems, Problem{Line: at.Line, Column: at.Column,
			Message: "a second document begins here: a config is one document, remove one of them"})
		break
	}
	return root, lines, problems
}

// readable says what keeps data from being text at all.
func readable(data []byte) *Problem {
	if len(data) > MaxSize {
		return &Problem{Message: fmt.Sprintf("the file is larger than %d bytes: is it a config?", MaxSize)}
	}
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return &Problem{Line: line, Column: column, Message: fmt.Sprintf("byte 0x%02x is not UTF-8: save the file as UTF-8 text", data[i])}
		case r == '\n':
			line, column = line+1, 0
		case r == '\r' && i+1 < len(data) && data[i+1] == '\n':
		case r < ' ' && r != '\t' || r == 0x7f:
			return &Problem{Line: line, Column: column, Message: fmt.Sprintf("control character 0x%02x: is this a text file?", r)}
		case r == '\ufeff' && i == 0:
			column = 0 // the byte order mark has no width
		}
		i += size
		column++
	}
	return nil
}

// subset finds what we do without. lines is nil if the file must not reach the
// parser.
func subset(tokens token.Tokens) (lines map[int]bool, problems []Problem) {
	lines = map[int]bool{}
	depth, inline, line := 0, 0, 0
	for _, tk := range tokens {
		at := tk.Position
		if at.Line != line {
			inline, line = 0, at.Line
		}
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			inline++
		}
		if depth > maxNesting || inline > maxNesting {
			return nil, append(problems, Problem{Line: at.Line, Column: at.Column, Message: fmt.Sprintf("nested deeper than %d levels", maxNesting)})
		}
		if why := refused[tk.Type]; why != "" && !lines[at.Line] {
			lines[at.Line] = true
			problems = append(problems, Problem{Line: at.Line, Column: at.Column, Message: why})
			if len(problems) > maxRefused {
				return nil, problems
			}
		}
	}
	return lines, problems
}

func syntaxProblem(err error) Problem {
	var located yaml.Error
	if !errors.As(err, &located) || located.GetToken() == nil {
		return Problem{Message: "not valid YAML"}
	}
	// GetMessage says what was expected; Error would also print the source
	// around it, and with it secrets.
	at := located.GetToken().Position
	return Problem{Line: at.Line, Column: max(at.Column, 1), Message: "not valid YAML: " + located.GetMessage()}
}

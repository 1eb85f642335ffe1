// SPDX-License-Identifier: Apache-2.0

package logs

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

//go:generate go test -run ^TestSchemaIsCurrent$ -update .

//go:embed schema.json
var schemaJSON []byte

// SchemaJSON is the JSON Schema (draft 2020-12) of one line, as checked in.
func SchemaJSON() []byte { return append([]byte(nil), schemaJSON...) }

// header is the keys that every line begins with, in their order.
var header = [...]string{"time", "severity", "message", "event", "relay", "run", "seq"}

const (
	timePattern    = `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$`
	channelPattern = `^0x[0-9a-f]{4}$`
	addrPattern    = `^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:.]+(%[^\]]+)?\]):\d{1,5}$`
	eventPattern   = `^[a-z_]+(\.[a-z_]+)*$`
)

// generateSchema makes the schema from the Go types. Fields beyond the known
// ones and events beyond the catalogue are allowed, so that a newer relay's
// lines still pass; the known ones must be there and of their kind.
//
// Three struct tags say what Go's types can't: `enum:"a,b"` lists the words that
// a string may be, `pattern:"…"` binds it (for a list: each of its items) to an
// expression, and `null:"yes"` lets an address, a channel or a time be absent.
func generateSchema() (*jsonschema.Schema, error) {
	one := 1.0
	severities := make([]any, len(severityNames))
	for i, s := range severityNames {
		severities[i] = s
	}
	text := 1
	root := &jsonschema.Schema{
		Schema:      "https://json-schema.org/draft/2020-12/schema",
		Title:       fmt.Sprintf("A line of Plumbline's log, schema %d", Schema),
		Description: "Generated from the Go types in logs/ by `go generate ./logs`; do not edit.",
		Type:        "object",
		Required:    header[:],
		Properties: map[string]*jsonschema.Schema{
			"time":     {Type: "string", Pattern: timePattern, Description: "UTC, nine fractional digits"},
			"severity": {Type: "string", Enum: severities},
			"message":  {Type: "string", MinLength: &text, Description: "one plain English sentence"},
			"event":    {Type: "string", Pattern: eventPattern},
			"relay":    {Type: "string", MinLength: &text, Description: "the instance's name"},
			"run":      {Type: "string", MinLength: &text, Description: "one process run, sortable by start"},
			"seq":      {Type: "integer", Minimum: &one, Description: "1, 2, 3 … within the run; log.dropped explains a hole"},
		},
		PropertyOrder: header[:],
		Defs:          map[string]*jsonschema.Schema{},
	}
	for _, ev := range Catalogue() {
		s, err := fieldsSchema(reflect.TypeOf(ev))
		if err != nil {
			return nil, fmt.Errorf("schema of %s: %w", ev.Name(), err)
		}
		root.Defs[ev.Name()] = s
		name := any(ev.Name())
		root.AllOf = append(root.AllOf, &jsonschema.Schema{
			If:   &jsonschema.Schema{Properties: map[string]*jsonschema.Schema{"event": {Const: &name}}, Required: []string{"event"}},
			Then: &jsonschema.Schema{Ref: "#/$defs/" + ev.Name()},
		})
	}
	return root, nil
}

func fieldsSchema(t reflect.Type) (*jsonschema.Schema, error) {
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[Time]():    {Type: "string", Pattern: timePattern},
		reflect.TypeFor[Channel](): {Type: "string", Pattern: channelPattern},
		reflect.TypeFor[Addr]():    {Type: "string", Pattern: addrPattern},
	}})
	if err != nil {
		return nil, err
	}
	refine(s, t)
	return s, nil
}

// refine makes an inferred schema say what the encoder writes and what the tags
// add: lists and maps are never null, structs are open to newer fields.
func refine(s *jsonschema.Schema, t reflect.Type) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Implements(appenderType):
	case t.Kind() == reflect.Struct:
		s.AdditionalProperties = nil
		refineFields(s, t, false)
	case t.Kind() == reflect.Slice:
		s.Types, s.Type = nil, "array"
		refine(s.Items, t.Elem())
	case t.Kind() == reflect.Map:
		s.Types, s.Type = nil, "object"
		refine(s.AdditionalProperties, t.Elem())
	}
}

func refineFields(s *jsonschema.Schema, t reflect.Type, null bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		absent := null || f.Tag.Get("null") == "yes"
		if f.Anonymous && name == "" {
			refineFields(s, f.Type, absent)
			continue
		}
		p := s.Properties[name]
		if p == nil {
			continue
		}
		refine(p, f.Type)
		if words := f.Tag.Get("enum"); words != "" {
			for w := range strings.SplitSeq(words, ",") {
				p.Enum = append(p.Enum, w)
			}
			if f.Type.Kind() == reflect.Pointer {
				p.Enum = append(p.Enum, nil)
			}
		}
		if pattern := f.Tag.Get("pattern"); pattern != "" {
			if p.Items != nil {
				p.Items.Pattern = pattern
			} else {
				p.Pattern = pattern
			}
		}
		if absent && f.Type.Implements(appenderType) {
			p.Types, p.Type = []string{p.Type, "null"}, ""
		}
	}
}

// encodeSchema is the text that is checked in.
func encodeSchema(s *jsonschema.Schema) ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

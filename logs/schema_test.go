// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"bytes"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write schema.json anew")

func TestSchemaIsCurrent(t *testing.T) {
	s, err := generateSchema()
	if err != nil {
		t.Fatal(err)
	}
	text, err := encodeSchema(s)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("schema.json", text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(text, schemaJSON) {
		t.Fatal("schema.json is not what the types say; run `go generate ./logs` and look at the difference: fields may come, none may go")
	}
}

// A type that has a Name, Severity and Message method is an event; each must be
// in the catalogue, or its lines would have no schema.
func TestCatalogueIsComplete(t *testing.T) {
	listed := make(map[string]bool)
	names := make(map[string]bool)
	for _, ev := range Catalogue() {
		typ := reflect.TypeOf(ev)
		listed[typ.Name()] = true
		if names[ev.Name()] {
			t.Errorf("two events are called %s", ev.Name())
		}
		names[ev.Name()] = true
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if slices.Contains(header[:], key) {
				t.Errorf("%s uses %q, which is a key of every line", ev.Name(), key)
			}
		}
	}
	fset := token.NewFileSet()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	methods := make(map[string]int)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(fset, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || !slices.Contains([]string{"Name", "Severity", "Message"}, fn.Name.Name) {
				continue
			}
			if id, ok := fn.Recv.List[0].Type.(*ast.Ident); ok {
				methods[id.Name]++
			}
		}
	}
	found := 0
	for typ, n := range methods {
		if n == 3 {
			found++
			if !listed[typ] {
				t.Errorf("%s is an event but not in Catalogue", typ)
			}
		}
	}
	if found != len(listed) {
		t.Errorf("%d event types in the source, %d in Catalogue", found, len(listed))
	}
}

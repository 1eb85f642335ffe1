// SPDX-License-Identifier: Apache-2.0

// Package filters holds jq programs for the relay's log and runs them, and any
// other, over the lines of a Reader with gojq.
//
// Each embedded program gives the same bytes under gojq, jq 1.6 and newer, so
// that what analyze says can be had from stock tools:
//
//	jq -n -r -f <(analyze filters drift) relay*.log
//
// Its first line says what it does. A header line "# events: config.*" lets
// lines of other events be passed over before they are decoded; the program
// selects them itself too, because stock jq does not know the header.
package filters

import (
	"embed"
	"fmt"
	"path"
	"strings"
)

//go:embed *.jq
var files embed.FS

// Filter is a jq program.
type Filter struct {
	Name string
	Text string
	// Each runs it once per line, with the line as its input; otherwise it runs
	// once and reads inputs.
	Each bool
}

// List is every embedded filter, by name.
func List() []Filter {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // the files are part of the binary
	}
	list := make([]Filter, 0, len(entries))
	for _, e := range entries {
		text, err := files.ReadFile(e.Name())
		if err != nil {
			panic(err)
		}
		list = append(list, Filter{Name: strings.TrimSuffix(e.Name(), ".jq"), Text: string(text)})
	}
	return list
}

// Named is the embedded filter of that name.
func Named(name string) (Filter, error) {
	list := List()
	names := make([]string, len(list))
	for i, f := range list {
		if f.Name == name {
			return f, nil
		}
		names[i] = f.Name
	}
	return Filter{}, fmt.Errorf("there is no filter %q; there are %s (or give your own with -e or -f)", name, strings.Join(names, ", "))
}

// Does is what the filter's first comment says.
func (f Filter) Does() string {
	first, _, _ := strings.Cut(f.Text, "\n")
	does, ok := strings.CutPrefix(first, "#")
	if !ok {
		return ""
	}
	return strings.TrimSpace(does)
}

// events are the globs of the header "# events:", nil where there is none. Only
// the comments before the program count.
func (f Filter) events() ([]string, error) {
	for line := range strings.Lines(f.Text) {
		comment, ok := strings.CutPrefix(strings.TrimSpace(line), "#")
		if !ok {
			return nil, nil
		}
		list, ok := strings.CutPrefix(strings.TrimSpace(comment), "events:")
		if !ok {
			continue
		}
		globs := strings.Fields(strings.ReplaceAll(list, ",", " "))
		for _, g := range globs {
			if _, err := path.Match(g, ""); err != nil {
				return nil, fmt.Errorf("filter %s: header \"# events:\" has %q, which is no glob", f.Name, g)
			}
		}
		return globs, nil
	}
	return nil, nil
}

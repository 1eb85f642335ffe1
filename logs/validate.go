// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"
)

// validators are the checked-in schema, made ready once: the header with the
// fields of each event.
var validators = sync.OnceValues(func() (map[string]*jsonschema.Resolved, error) {
	var root jsonschema.Schema
	if err := json.Unmarshal(schemaJSON, &root); err != nil {
		return nil, fmt.Errorf("read schema.json: %w", err)
	}
	all := make(map[string]*jsonschema.Resolved, len(root.Defs))
	for name, def := range root.Defs {
		one := root.CloneSchemas()
		one.AllOf, one.Defs = []*jsonschema.Schema{def.CloneSchemas()}, nil
		r, err := one.Resolve(nil)
		if err != nil {
			return nil, fmt.Errorf("schema.json, event %s: %w", name, err)
		}
		all[name] = r
	}
	return all, nil
})

// ValidateLine checks one line, with or without its newline, against the schema
// of its event and against what a schema can't say: the first seven keys in
// their order, no key twice, a length below 64 KiB, a message that prints as one
// line, an event of the catalogue.
func ValidateLine(line []byte) error {
	line = bytes.TrimSuffix(line, []byte("\n"))
	if len(line)+1 >= maxLine {
		return fmt.Errorf("line of %d bytes: the limit is %d", len(line), maxLine)
	}
	if bytes.IndexByte(line, '\n') >= 0 {
		return errors.New("a newline within the line")
	}
	keys, err := topKeys(line)
	if err != nil {
		return fmt.Errorf("not a JSON object: %w", err)
	}
	seen := make(map[string]bool, len(keys))
	for i, k := range keys {
		if seen[k] {
			return fmt.Errorf("key %q stands twice", k)
		}
		seen[k] = true
		if i < len(header) && k != header[i] {
			return fmt.Errorf("key %d is %q, want %q", i+1, k, header[i])
		}
	}
	var value map[string]any
	if err := json.Unmarshal(line, &value); err != nil {
		return err
	}
	all, err := validators()
	if err != nil {
		return err
	}
	name, _ := value["event"].(string)
	schema := all[name]
	if schema == nil {
		return fmt.Errorf("event %q is not in the catalogue", name)
	}
	if err := schema.Validate(value); err != nil {
		return fmt.Errorf("event %s: %w", name, err)
	}
	message, _ := value["message"].(string)
	if strings.TrimSpace(message) == "" {
		return fmt.Errorf("event %s: the message is empty", name)
	}
	if message != printable(message) {
		return fmt.Errorf("event %s: the message %q does not print as one line", name, message)
	}
	return nil
}

// topKeys lists an object's keys in their order.
func topKeys(line []byte) ([]string, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('{') {
		return nil, fmt.Errorf("it begins with %v", t)
	}
	var keys []string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		keys = append(keys, t.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return keys, err
}

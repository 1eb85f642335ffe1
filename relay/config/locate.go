// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
)

// Locate finds where a key stands in a file: "offload.mode", say. It is 0, 0
// where the file leaves the key out, or is no YAML.
func Locate(data []byte, key string) (line, column int) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return 0, 0
	}
	for key != "" { // a section that holds the key is the next best place
		path, err := yaml.PathString("$." + key)
		if err != nil {
			return 0, 0
		}
		if node, err := path.FilterFile(file); err == nil && node != nil {
			at := node.GetToken().Position
			return at.Line, at.Column
		}
		key = key[:max(strings.LastIndexByte(key, '.'), 0)]
	}
	return 0, 0
}

// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhereabouts(t *testing.T) {
	const found = "relay: {name: edge}\nlogs: {dir: /var/log/edge}\nadmin: {socket: /run/edge.sock}\n"
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"a good file":              {found + "offload: {interface: eth0}\n", true},
		"a value that is refused":  {found + "allocations: {ports: 60000-50000}\n", true},
		"an unknown key":           {found + "alocations: {ports: 50000-60000}\n", true},
		"an unknown section's key": {found + "offload: {interfaces: eth0}\n", true},
		"the name is refused":      {"relay: {name: a/b}\nlogs: {dir: /var/log/edge}\nadmin: {socket: /run/edge.sock}\n", false},
		"the section is no map":    {"relay: {name: edge}\nlogs: [/var/log/edge]\nadmin: {socket: /run/edge.sock}\n", false},
		"cut in the middle":        {found + "offload: {interface: ", false},
		"no document":              {"", false},
		"not text":                 {"\x00\xff", false},
		"a list":                   {"- relay\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "relay.yaml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := Whereabouts(file)
			if (got != nil) != c.ok {
				t.Fatalf("got %+v, want some: %t", got, c.ok)
			}
			if got != nil && (got.Relay.Name != "edge" || got.Logs.Dir != "/var/log/edge" || got.Admin.Socket != "/run/edge.sock") {
				t.Fatalf("got %q, %q, %q", got.Relay.Name, got.Logs.Dir, got.Admin.Socket)
			}
		})
	}
	if Whereabouts(t.TempDir()) != nil {
		t.Error("a folder is somewhere")
	}
}

// SPDX-License-Identifier: Apache-2.0

package config

import "testing"

func TestLocate(t *testing.T) {
	data := []byte("# a comment\nrelay: {name: edge}\noffload:\n  interface: eth0\n  mode: native\nlisten:\n  - 0.0.0.0:3478\n")
	for key, want := range map[string][2]int{
		"offload.mode":         {5, 9},
		"relay.name":           {2, 15},
		"offload.udp_checksum": {4, 3}, // left out: its section
		"admin.socket":         {0, 0},
	} {
		line, column := Locate(data, key)
		if line != want[0] || key == "offload.mode" && column != want[1] {
			t.Errorf("%s at %d:%d, want %d:%d", key, line, column, want[0], want[1])
		}
	}
	if line, _ := Locate([]byte("{[:"), "relay.name"); line != 0 {
		t.Errorf("no YAML, and the key at line %d", line)
	}
}

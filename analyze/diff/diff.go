// SPDX-License-Identifier: Apache-2.0

// Package diff puts two values beside each other in words: a config and the one
// before it, or what was intended and what the kernel held.
package diff

import (
	"encoding/json"
	"fmt"
	"strings"

	"plumbline/logs"
)

// Changes says what b changes against a, as "ports 1-2 → 3-4". Where a is nil
// it says all that b holds.
func Changes(a *logs.RouterConfig, b logs.RouterConfig) string {
	type fact struct{ name, from, to string }
	words := func(c logs.RouterConfig) []fact {
		return []fact{
			{name: "offload", to: onOff(c.Enabled)},
			{name: "ports", to: fmt.Sprintf("%d-%d", c.LowestPort, c.HighestPort)},
			{name: "listen ports", to: joined(c.ListenPorts)},
			{name: "UDP checksums", to: onOff(c.UDPChecksum)},
			{name: "abi", to: fmt.Sprint(c.ABI)},
		}
	}
	facts := words(b)
	if a != nil {
		for i, old := range words(*a) {
			facts[i].from = old.to
		}
	}
	var parts []string
	for _, f := range facts {
		switch {
		case a == nil && f.name != "abi":
			parts = append(parts, f.name+" "+f.to)
		case a != nil && f.from != f.to:
			parts = append(parts, fmt.Sprintf("%s %s → %s", f.name, f.from, f.to))
		}
	}
	if parts == nil {
		return "the router's part is unchanged"
	}
	return strings.Join(parts, ", ")
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

func joined[T any](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, ",")
}

// Sides writes differences as two texts whose columns stand below each other:
// the intended fields and the kernel's.
func Sides(d []logs.Difference) (intended, kernel string) {
	var a, b strings.Builder
	for i, f := range d {
		x, y := f.Field+" "+Value(f.Intended), f.Field+" "+Value(f.Kernel)
		if i < len(d)-1 {
			width := max(len([]rune(x)), len([]rune(y))) + 2
			x += strings.Repeat(" ", width-len([]rune(x)))
			y += strings.Repeat(" ", width-len([]rune(y)))
		}
		a.WriteString(x)
		b.WriteString(y)
	}
	return a.String(), b.String()
}

// Value writes a JSON value as a person would: no quotes around words, and
// numbers without an exponent.
func Value(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = Value(e)
		}
		if len(parts) == 0 {
			return "none"
		}
		return strings.Join(parts, ",")
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

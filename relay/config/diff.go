// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"reflect"
	"slices"

	"plumbline/logs"
)

// secretChanged stands for both sides of a change to a secret.
const secretChanged = "changed"

// Digest is the SHA-256, in hexadecimal, of the config with its secrets left
// out: of users only the names count. Two configs with the same digest differ in
// secrets at most. A later version that knows more keys gives other digests.
func (c *Config) Digest() string {
	h := sha256.New()
	line := func(path string, v any) {
		text, err := json.Marshal([]any{path, v})
		if err != nil { // only bools, numbers, strings and lists of them get here
			panic(err)
		}
		h.Write(text)
		io.WriteString(h, "\n")
	}
	for _, k := range keys {
		if k.show != nil {
			line(k.path, k.show(c))
		}
	}
	line("auth.users", slices.Sorted(maps.Keys(passwords(c))))
	return hex.EncodeToString(h.Sum(nil))
}

// Diff lists the keys in which b differs from a, in the order of the file's
// sections. Users are told apart by name, and of secrets it says only that they
// changed.
func Diff(a, b *Config) []logs.Change {
	changes := []logs.Change{}
	for _, k := range keys {
		switch {
		case k.path == "auth.users":
			changes = append(changes, diffUsers(passwords(a), passwords(b))...)
		case k.path == "auth.shared_secret":
			if a.Auth.SharedSecret != b.Auth.SharedSecret {
				changes = append(changes, logs.Change{Field: k.path, From: secretChanged, To: secretChanged})
			}
		case k.differs(a, b):
			changes = append(changes, logs.Change{Field: k.path, From: k.show(a), To: k.show(b)})
		}
	}
	return changes
}

func diffUsers(a, b map[string]string) []logs.Change {
	var changes []logs.Change
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, had := a[name]
		after, has := b[name]
		field := "auth.users." + name
		switch {
		case !had:
			changes = append(changes, logs.Change{Field: field, From: "absent", To: "present"})
		case !has:
			changes = append(changes, logs.Change{Field: field, From: "present", To: "absent"})
		case before != after:
			changes = append(changes, logs.Change{Field: field + ".password", From: secretChanged, To: secretChanged})
		}
	}
	return changes
}

// RestartKeys are the keys in which b differs from a and which a running relay
// can't change, because the privileges that it would need are gone by then.
func RestartKeys(a, b *Config) []string {
	var out []string
	for _, k := range keys {
		if k.restart && k.differs(a, b) {
			out = append(out, k.path)
		}
	}
	return out
}

func (k key) differs(a, b *Config) bool {
	return k.show != nil && !reflect.DeepEqual(k.show(a), k.show(b))
}

func passwords(c *Config) map[string]string {
	out := make(map[string]string, len(c.Auth.Users))
	for _, u := range c.Auth.Users {
		out[u.Name] = u.Password
	}
	return out
}

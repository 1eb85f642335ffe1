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
// out: of users only the names count, of the shared secret that there is one, and
// of secret files their paths. Two configs with the same digest differ in
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
	names := users(c)
	line("auth.users", slices.Sorted(maps.Keys(names)))
	// Configs without what follows keep the digest that they had before.
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if file := names[name].PasswordFile; file != "" {
			line("auth.users."+name+".password_file", file)
		}
	}
	if c.Auth.SharedSecret != "" {
		line(sharedSecret, "present")
		line(sharedSecretFile, c.Auth.SharedSecretFile)
	}
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
			changes = append(changes, diffUsers(users(a), users(b))...)
		case k.path == sharedSecret:
			if a.Auth.SharedSecret != b.Auth.SharedSecret || a.Auth.SharedSecretFile != b.Auth.SharedSecretFile {
				changes = append(changes, changedSecret(sharedSecret, b.Auth.SharedSecretFile))
			}
		case k.differs(a, b):
			changes = append(changes, logs.Change{Field: k.path, From: k.show(a), To: k.show(b)})
		}
	}
	return changes
}

// changedSecret is one line for a secret and the file that it is from: the key
// that holds it now, and neither of the two.
func changedSecret(key, file string) logs.Change {
	if file != "" {
		key += "_file"
	}
	return logs.Change{Field: key, From: secretChanged, To: secretChanged}
}

func diffUsers(a, b map[string]User) []logs.Change {
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
			changes = append(changes, changedSecret(field+".password", after.PasswordFile))
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

func users(c *Config) map[string]User {
	out := make(map[string]User, len(c.Auth.Users))
	for _, u := range c.Auth.Users {
		out[u.Name] = u
	}
	return out
}

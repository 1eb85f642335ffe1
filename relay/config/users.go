// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// Nothing in this file may put the text of a value into a problem: problems
// are logged, and a secret can stand anywhere here by mistake.

// maxUsers bounds what one file can hold in terms of memory.
const maxUsers = 20_000

// readUsers reads auth.users.
func readUsers(r *reader, c *Config, path string, n ast.Node) {
	items, ok := r.items(path, n)
	if !ok {
		return
	}
	if len(items) > maxUsers {
		r.fail(path, n, "want at most %d users, got %d", maxUsers, len(items))
		return
	}
	users := make([]User, 0, len(items))
	first := map[string]int{}
	for _, item := range items {
		u, ok := r.user(path, item)
		if !ok {
			r.bad[path] = true
			continue
		}
		if line, again := first[u.Name]; again {
			r.fail(path, item, "user %q stands here twice, first in line %d", u.Name, line)
			continue
		}
		first[u.Name] = place(item).Line
		users = append(users, u)
	}
	c.Auth.Users = users
}

// user reads one {name: …, password: …}.
func (r *reader) user(path string, n ast.Node) (u User, ok bool) {
	before := len(r.problems)
	path += "[]"
	entries, ok := r.entries(path, n, true)
	if !ok {
		return u, false
	}
	set := map[string]bool{}
	for _, e := range entries {
		set[e.name] = true
		if s, ok := e.value.(*ast.StringNode); ok && s.Value == "" && e.name == "password_file" {
			set[e.name] = false // as if it were not there
		}
		key := path + "." + e.name
		switch e.name {
		case "name":
			u.Name = r.credential(key, userName, e.value)
		case "password":
			u.Password = r.credential(key, password, e.value)
		case "password_file":
			readUnplaced(r, nil, key, e.value)
		default:
			r.report(place(e.key), "unknown key in %s%s", path, suggestionAmong(userKeys, e.name))
		}
	}
	for _, want := range []string{"name", "password"} {
		if !set[want] && !(want == "password" && set["password_file"]) {
			r.fail(path, n, "%s is missing", want)
		}
	}
	return u, len(r.problems) == before && !slices.ContainsFunc(entries, func(e entry) bool { return r.bad[path+"."+e.name] })
}

func (r *reader) credential(key string, parse func(string) (string, error), n ast.Node) string {
	s, ok := r.scalar(key, textScalar, n)
	if !ok {
		return ""
	}
	v, err := parse(s)
	if err != nil {
		r.fail(key, n, "%v", err)
	}
	return v
}

// readSecret reads auth.shared_secret; "" is none.
func readSecret(r *reader, c *Config, path string, n ast.Node) {
	s, ok := r.scalar(path, textScalar, n)
	if !ok || s == "" {
		return
	}
	if why := pending[path]; why != "" {
		r.fail(path, n, `%s: leave it at ""`, why)
		return
	}
	if _, err := password(s); err != nil {
		r.fail(path, n, "%v", err)
		return
	}
	c.Auth.SharedSecret = s
}

// readUnplaced reads a key that a Config has no field for yet: only "", its
// default, means what it says.
func readUnplaced(r *reader, _ *Config, path string, n ast.Node) {
	if s, ok := r.scalar(path, textScalar, n); ok && s != "" {
		r.fail(path, n, `%s: leave it at ""`, pending[path])
	}
}

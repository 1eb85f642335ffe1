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

// user reads one {name: …, password: …} or {name: …, password_file: …}.
func (r *reader) user(path string, n ast.Node) (u User, ok bool) {
	before := len(r.problems)
	path += "[]"
	entries, ok := r.entries(path, n, true)
	if !ok {
		return u, false
	}
	set := map[string]bool{}
	var file string // the path in password_file
	var fileAt ast.Node
	for _, e := range entries {
		set[e.name] = true
		key := path + "." + e.name
		switch e.name {
		case "name":
			u.Name = r.credential(key, userName, e.value)
		case "password":
			u.Password = r.credential(key, password, e.value)
		case "password_file":
			s, ok := r.scalar(key, textScalar, e.value)
			file, fileAt = s, e.value
			set[e.name] = !ok || s != "" // "" is as if it were not there
		default:
			r.report(place(e.key), "unknown key in %s%s", path, suggestionAmong(userKeys, e.name))
		}
	}
	switch key := path + ".password_file"; {
	case file == "":
	case set["password"]:
		r.fail(key, fileAt, "password is set too: remove one of them")
	default:
		u.PasswordFile, u.Password = r.fromFile(key, file, fileAt)
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

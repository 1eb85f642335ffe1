// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"plumbline/logs"
)

// kept writes a secret file and returns its path.
func kept(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// userFile is a config of one user, alice, with her password in path.
func userFile(path string) string {
	return whole + "auth: {users: [{name: alice, password_file: " + path + "}]}\n"
}

func TestSecretsFromFiles(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxSecret)
	for text, want := range map[string]string{
		"wonderland": "wonderland", "wonderland\n": "wonderland", " a b ": " a b ", "a: b # c\n": "a: b # c", "ü\n": "ü",
		long: long, long + "\n": long,
	} {
		path := kept(t, "secret", text)
		if c := parse(t, userFile(path)); c.Auth.Users[0] != (User{"alice", want, path}) {
			t.Errorf("%q became %+v", text, c.Auth.Users)
		}
		if c := parse(t, whole+"auth: {shared_secret_file: "+path+"}\n"); c.Auth.SharedSecret != want || c.Auth.SharedSecretFile != path {
			t.Errorf("%q became %+v", text, c.Auth)
		}
	}
	if c := parse(t, whole+"auth: {shared_secret: north}\n"); c.Auth.SharedSecret != "north" || c.Auth.SharedSecretFile != "" {
		t.Errorf("%+v", c.Auth)
	}
	// A link is followed: that is how Kubernetes mounts secrets.
	path := kept(t, "secret", "wonderland\n")
	if err := os.Symlink(path, path+".link"); err != nil {
		t.Fatal(err)
	}
	if c := parse(t, userFile(path+".link")); c.Auth.Users[0].Password != "wonderland" {
		t.Errorf("through a link: %+v", c.Auth)
	}
}

// TestBadSecretFiles: one problem each, at the path, that holds neither the path
// nor what is in the file, for both keys.
func TestBadSecretFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "s3cret-pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "s3cret-loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ path, want string }{
		"missing":           {filepath.Join(dir, "s3cret"), "read the secret file: no such file or directory: check the path"},
		"missing folder":    {filepath.Join(dir, "s3cret", "s3cret"), "read the secret file: no such file or directory: check the path"},
		"a folder":          {dir, "the path leads to a folder: name the file in it"},
		"a pipe":            {pipe, "the path does not lead to a regular file"},
		"a device":          {"/dev/zero", "the path does not lead to a regular file"},
		"a loop":            {loop, "read the secret file: too many levels of symbolic links"},
		"empty":             {kept(t, "s3cret", ""), "the secret file is empty"},
		"an empty line":     {kept(t, "s3cret", "\n"), "the secret file is empty"},
		"two lines":         {kept(t, "s3cret", "s3cret\ns3cret\n"), "the secret file holds control characters: it must be one line"},
		"two line breaks":   {kept(t, "s3cret", "s3cret\n\n"), "the secret file holds control characters: it must be one line"},
		"a DOS line break":  {kept(t, "s3cret", "s3cret\r\n"), "the secret file holds control characters: it must be one line"},
		"not text":          {kept(t, "s3cret", "s3cret\xff\n"), "the secret file is not UTF-8 text"},
		"too large":         {kept(t, "s3cret", strings.Repeat("s3cret", 1<<18)), "the secret file holds more than 1024 bytes: is it the right one?"},
		"a byte too large":  {kept(t, "s3cret", strings.Repeat("x", maxSecret+1)), "the secret file holds more than 1024 bytes: is it the right one?"},
		"one and its break": {kept(t, "s3cret", strings.Repeat("x", maxSecret+1)+"\n"), "the secret file holds more than 1024 bytes: is it the right one?"},
		"a relative path":   {"s3cret", "want an absolute path such as /run/secrets/turn"},
		"a home":            {"~/s3cret", "want an absolute path such as /run/secrets/turn"},
	} {
		for key, file := range map[string]string{
			"auth.users[].password_file": whole + "auth:\n  users:\n    - name: alice\n      password_file: " + test.path + "\n",
			"auth.shared_secret_file":    whole + "auth:\n  users: []\n\n  shared_secret_file:   " + test.path + "\n",
		} {
			c, problems := Parse("relay.yaml", []byte(file))
			want := Problem{File: "relay.yaml", Line: 5, Column: 22, Message: key + ": " + test.want}
			if strings.HasPrefix(key, "auth.users") {
				want.Column = 22
			} else {
				want.Column = 25
			}
			if c != nil || len(problems) != 1 || problems[0] != want {
				t.Errorf("%s: got %v, want %v", name, problems, want)
			}
			for _, p := range problems {
				if strings.Contains(p.String(), "s3cret") {
					t.Errorf("%s: %s", name, p)
				}
			}
		}
	}
	if os.Geteuid() != 0 {
		path := kept(t, "secret", "x")
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		if _, problems := Parse("f", []byte(userFile(path))); len(problems) != 1 || !strings.HasSuffix(problems[0].Message, "permission denied: let the relay's user read it") {
			t.Errorf("unreadable: %v", problems)
		}
	}
	// Root reads everything, so this is asked of the words alone.
	if err := secretError(&os.PathError{Op: "open", Path: "/s3cret", Err: syscall.EACCES}); !errors.Is(err, os.ErrPermission) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("unreadable: %v", err)
	}
}

func TestSecretAndItsFile(t *testing.T) {
	t.Parallel()
	path := kept(t, "secret", "x")
	for file, want := range map[string]string{
		"auth:\n  shared_secret: a\n  shared_secret_file: " + path + "\n":           "f:4:23: auth.shared_secret_file: auth.shared_secret is set too, in line 3: remove one of them",
		"auth:\n  shared_secret_file: " + path + "\n  shared_secret: a\n":           "f:4:18: auth.shared_secret: auth.shared_secret_file is set too, in line 3: remove one of them",
		"auth: {users: [{name: a, password: b, password_file: " + path + "}]}\n":    "f:2:54: auth.users[].password_file: password is set too: remove one of them",
		"auth: {users: [{name: a, password_file: " + path + ", password: b}]}\n":    "f:2:41: auth.users[].password_file: password is set too: remove one of them",
		"auth: {users: [{name: a, password_file: \"\"}]}\n":                         "f:2:16: auth.users[]: password is missing",
		"auth:\n  users:\n    - name: a\n      password_file: |\n\n":                "f:4:7: auth.users[]: password is missing",
		"auth: {users: [{name: a, password: \"\", password_file: " + path + "}]}\n": "f:2:36: auth.users[].password: want a password, it is empty",
	} {
		c, problems := Parse("f", []byte(whole+file))
		if c != nil || len(problems) == 0 || problems[0].String() != want {
			t.Errorf("%s\ngot  %v\nwant %s", file, problems, want)
		}
	}
	parse(t, whole+"auth: {shared_secret: a, shared_secret_file: \"\"}\n")
	parse(t, whole+"auth: {shared_secret: \"\", shared_secret_file: "+path+"}\n")
}

// TestSecretFilesOfABadConfig: a relay has to watch what a config names also
// when it is refused, perhaps for one of these files.
func TestSecretFilesOfABadConfig(t *testing.T) {
	t.Parallel()
	const file = `logs: {keep: x}
nonsense: 1
auth:
  shared_secret_file: /b
  users: [{name: a, password_file: /c/../a}, {name: b, password: x}, {name: a, password_file: /b}, {password_file: rel}, {password_file: /d}]
`
	if got, want := SecretFiles([]byte(file)), []string{"/a", "/b", "/d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, none := range []string{"", "a: [", whole, "auth: x\n", "auth: {users: x}\n"} {
		if got := SecretFiles([]byte(none)); len(got) != 0 {
			t.Errorf("%q names %q", none, got)
		}
	}
}

func TestTooManySecretFiles(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString(whole + "auth:\n  users:\n    - {name: again, password_file: /f0}\n")
	for i := range MaxSecretFiles + 1 {
		fmt.Fprintf(&b, "    - {name: u%d, password_file: /f%d}\n", i, i)
	}
	_, problems := ParseWith("f", []byte(b.String()), func(string) ([]byte, error) { return []byte("x"), nil })
	want := fmt.Sprintf("f:%d:%d: auth.users[].password_file: want at most 1024 different secret files", 4+MaxSecretFiles+1, 36)
	if len(problems) != 1 || problems[0].String() != want {
		t.Errorf("got %v, want %s", problems, want)
	}
	if n := len(SecretFiles([]byte(b.String()))); n != MaxSecretFiles {
		t.Errorf("%d would be watched", n)
	}
}

// TestDigestAndDiffOfSecretFiles: what is in a secret file shows nowhere, that
// it has changed shows in the changes alone, and no path does.
func TestDigestAndDiffOfSecretFiles(t *testing.T) {
	t.Parallel()
	load := func(auth string, contents map[string]string) *Config {
		c, problems := ParseWith("f", []byte(whole+"auth: "+auth+"\n"), func(path string) ([]byte, error) { return []byte(contents[path]), nil })
		if c == nil {
			t.Fatal(problems)
		}
		return c
	}
	const both = "{users: [{name: alice, password_file: /a}], shared_secret_file: /s}"
	a := load(both, map[string]string{"/a": "one", "/s": "north"})
	changed := func(fields ...string) (out []logs.Change) {
		for _, f := range fields {
			out = append(out, logs.Change{Field: f, From: "changed", To: "changed"})
		}
		return out
	}
	for name, test := range map[string]struct {
		b    *Config
		same bool // the digest
		want []logs.Change
	}{
		"nothing":             {load(both, map[string]string{"/a": "one\n", "/s": "north"}), true, []logs.Change{}},
		"a password":          {load(both, map[string]string{"/a": "two", "/s": "north"}), true, changed("auth.users.alice.password_file")},
		"the shared secret":   {load(both, map[string]string{"/a": "one", "/s": "south"}), true, changed("auth.shared_secret_file")},
		"all":                 {load(both, map[string]string{"/a": "two", "/s": "south"}), true, changed("auth.users.alice.password_file", "auth.shared_secret_file")},
		"a path":              {load(strings.Replace(both, "/a", "/b", 1), map[string]string{"/b": "one", "/s": "north"}), false, changed("auth.users.alice.password_file")},
		"out of files":        {load("{users: [{name: alice, password: one}], shared_secret: north}", nil), false, changed("auth.users.alice.password", "auth.shared_secret")},
		"no shared secret":    {load("{users: [{name: alice, password_file: /a}]}", map[string]string{"/a": "one"}), false, changed("auth.shared_secret")},
		"both in other files": {load("{users: [{name: alice, password_file: /s}], shared_secret_file: /a}", map[string]string{"/s": "one", "/a": "north"}), false, changed("auth.users.alice.password_file", "auth.shared_secret_file")},
	} {
		if got := Diff(a, test.b); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: changes %+v, want %+v", name, got, test.want)
		}
		if same := a.Digest() == test.b.Digest(); same != test.same {
			t.Errorf("%s: same digest: %v, want %v", name, same, test.same)
		}
		if keys := RestartKeys(a, test.b); len(keys) != 0 {
			t.Errorf("%s needs a restart for %v", name, keys)
		}
	}
	inline := load("{shared_secret: north}", nil)
	if other := load("{shared_secret: south}", nil); inline.Digest() != other.Digest() || !reflect.DeepEqual(Diff(inline, other), changed("auth.shared_secret")) {
		t.Errorf("the digest holds the secret, or the changes do: %v", Diff(inline, other))
	}
}

// TestCheckWarnsOfReadableSecrets: of the file that holds the secret, and of no
// other.
func TestCheckWarnsOfReadableSecrets(t *testing.T) {
	t.Parallel()
	secret := kept(t, "secret", "x\n")
	for _, test := range []struct {
		auth           string
		config, secret os.FileMode
		warnings       int // of the config, and of the secret file
		other          int
	}{
		{"{users: [{name: a, password_file: " + secret + "}]}", 0o644, 0o600, 0, 0},
		{"{users: [{name: a, password_file: " + secret + "}], shared_secret_file: " + secret + "}", 0o644, 0o644, 0, 1},
		{"{users: [{name: a, password_file: " + secret + "}], shared_secret: x}", 0o644, 0o644, 1, 1},
		{"{users: [{name: a, password_file: " + secret + "}, {name: b, password: x}]}", 0o644, 0o640, 1, 0},
		{"{shared_secret: x}", 0o644, 0o644, 1, 0},
		{"{shared_secret_file: " + secret + "}", 0o600, 0o604, 0, 1},
	} {
		path := kept(t, "relay.yaml", whole+"auth: "+test.auth+"\n")
		if err := errors.Join(os.Chmod(path, test.config), os.Chmod(secret, test.secret)); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		code := Check(&b, path)
		of := func(file string) int { return strings.Count(b.String(), file+": warning: it holds ") }
		if code != 0 || of(path) != test.warnings || of(secret) != test.other || strings.Count(b.String(), "\n") != 1+test.warnings+test.other {
			t.Errorf("%s: %d: %s", test.auth, code, &b)
		}
	}
}

// TestWhereaboutsReadNoSecrets: whoever asks for a relay's state may not be
// allowed to read its secrets.
func TestWhereaboutsReadNoSecrets(t *testing.T) {
	t.Parallel()
	path := kept(t, "relay.yaml", "relay: {name: edge}\n"+userFile("/nowhere"))
	if c := Whereabouts(path); c == nil || c.Relay.Name != "edge" {
		t.Errorf("got %+v", c)
	}
	if c := Whereabouts(kept(t, "relay.yaml", "relay: {name: edge}\n"+whole+"auth: {shared_secret_file: /nowhere}\n")); c == nil || c.Relay.Name != "edge" {
		t.Errorf("got %+v", c)
	}
}

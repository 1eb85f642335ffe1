// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Secrets may stand in files of their own: each key that holds one has a twin
// that ends in _file. Neither their contents nor their paths go into a problem:
// the place says which file is meant, and what stands there may be a secret by
// mistake.

const (
	// maxSecret is the most bytes that a secret has.
	maxSecret = 1024
	// MaxSecretFiles is how many different secret files one config may name:
	// they are all read together, and again at each poll.
	MaxSecretFiles = 1024
)

// ReadSecret reads a secret file. It follows symbolic links, never blocks on
// what is no regular file, and reads little more than a secret may have. Errors
// say what to do and leave the path out.
func ReadSecret(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, secretError(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, secretError(err)
	case info.IsDir():
		return nil, errors.New("the path leads to a folder: name the file in it")
	case !info.Mode().IsRegular():
		return nil, errors.New("the path does not lead to a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+2)) // a line break may follow
	if err != nil {
		return nil, secretError(err)
	}
	return data, nil
}

func secretError(err error) error {
	var in *fs.PathError
	if errors.As(err, &in) {
		err = in.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read the secret file: %w: check the path", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read the secret file: %w: let the relay's user read it", err)
	}
	return fmt.Errorf("read the secret file: %w", err)
}

// secretText is the secret that the bytes of a file are: all of them but one
// line break at the end.
func secretText(data []byte) (string, error) {
	s := strings.TrimSuffix(string(data), "\n")
	switch {
	case s == "":
		return "", errors.New("the secret file is empty")
	case len(s) > maxSecret:
		return "", fmt.Errorf("the secret file holds more than %d bytes: is it the right one?", maxSecret)
	case !utf8.ValidString(s):
		return "", errors.New("the secret file is not UTF-8 text")
	case !printable(s):
		return "", errors.New("the secret file holds control characters: it must be one line")
	}
	return s, nil
}

// fromFile reads the secret in the file that key names. n is where the path
// stands. Both results are "" where there is a problem.
func (r *reader) fromFile(key, path string, n ast.Node) (file, secret string) {
	if !filepath.IsAbs(path) || !printable(path) {
		r.fail(key, n, "want an absolute path such as /run/secrets/turn")
		return "", ""
	}
	file = filepath.Clean(path)
	if !r.files[file] && len(r.files) == MaxSecretFiles {
		r.fail(key, n, "want at most %d different secret files", MaxSecretFiles)
		return "", ""
	}
	r.files[file] = true
	if r.secret == nil {
		return file, ""
	}
	data, err := r.secret(file)
	if err == nil {
		secret, err = secretText(data)
	}
	if err != nil {
		r.fail(key, n, "%v", err)
		return "", ""
	}
	return file, secret
}

// The two places of the shared secret; the file may name one of them.
const sharedSecret, sharedSecretFile = "auth.shared_secret", "auth.shared_secret_file"

// readSharedSecret reads either; "" is none.
func readSharedSecret(r *reader, c *Config, path string, n ast.Node) {
	s, ok := r.scalar(path, textScalar, n)
	if !ok || s == "" {
		return
	}
	other := sharedSecret
	if path == sharedSecret {
		other = sharedSecretFile
	}
	if r.shared != (token.Position{}) {
		r.fail(path, n, "%s is set too, in line %d: remove one of them", other, r.shared.Line)
		return
	}
	r.shared = place(n)
	if path == sharedSecretFile {
		c.Auth.SharedSecretFile, c.Auth.SharedSecret = r.fromFile(path, s, n)
		return
	}
	if _, err := password(s); err != nil {
		r.fail(path, n, "%v", err)
		return
	}
	c.Auth.SharedSecret = s
}

// SecretFiles lists the secret files that the bytes of a config file name, as
// far as they can be made out, also where the config is refused: it may be for
// one of these files that it is. Sorted, each once.
func SecretFiles(data []byte) []string {
	root, skip, _ := document(data)
	if root == nil {
		return nil
	}
	r := newReader("", skip)
	r.sections(defaults(), root)
	return slices.Sorted(maps.Keys(r.files))
}

// SecretFiles lists the files that secrets of this config were read from.
func (c *Config) SecretFiles() []string {
	files := map[string]bool{}
	for _, u := range c.Auth.Users {
		files[u.PasswordFile] = true
	}
	files[c.Auth.SharedSecretFile] = true
	delete(files, "")
	return slices.Sorted(maps.Keys(files))
}

// holdsSecrets says whether some stand in the config file itself.
func (c *Config) holdsSecrets() bool {
	return c.Auth.SharedSecret != "" && c.Auth.SharedSecretFile == "" ||
		slices.ContainsFunc(c.Auth.Users, func(u User) bool { return u.PasswordFile == "" })
}

// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// credentialFile holds USER:PASSWORD and a line break, mode 0600.
const credentialFile = "credential"

// errNoCredential says that the file holds something else.
var errNoCredential = errors.New("it does not hold USER:PASSWORD")

// Credential is the one user of a relay that runs without a config file. It is
// kept in stateDir, so that it stays the same from run to run, and made there
// when it is missing or damaged; created tells that. A file that exists and
// can't be read is an error: it may be somebody else's.
func Credential(stateDir string) (u User, created bool, err error) {
	path := filepath.Join(stateDir, credentialFile)
	u, err = KeptCredential(stateDir)
	damaged := errors.Is(err, errNoCredential)
	if err == nil || !damaged && !errors.Is(err, fs.ErrNotExist) {
		return u, false, err
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return User{}, false, fmt.Errorf("make the folder for %s: %w", path, err)
	}
	fresh := User{Name: "plumbline", Password: rand.Text()}
	if err := store(path, fresh, damaged); err != nil {
		if errors.Is(err, fs.ErrExist) { // another relay was faster
			u, err = KeptCredential(stateDir)
			return u, false, err
		}
		return User{}, false, fmt.Errorf("keep a credential in %s: %w", path, err)
	}
	return fresh, true, nil
}

// KeptCredential reads what Credential keeps, and makes nothing.
func KeptCredential(stateDir string) (User, error) {
	path := filepath.Join(stateDir, credentialFile)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return User{}, fmt.Errorf("read the kept credential: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return User{}, fmt.Errorf("read the kept credential: %w", err)
	case !info.Mode().IsRegular():
		return User{}, fmt.Errorf("read the kept credential %s: it is not a regular file: remove it", path)
	case info.Mode().Perm()&0o077 != 0:
		return User{}, fmt.Errorf("read the kept credential %s: others may have read it (mode %04o): remove it, and the relay makes another", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return User{}, fmt.Errorf("read the kept credential %s: %w", path, err)
	}
	name, secret, _ := strings.Cut(strings.TrimSuffix(string(data), "\n"), ":")
	_, err1 := userName(name)
	_, err2 := password(secret)
	if err1 != nil || err2 != nil {
		return User{}, fmt.Errorf("read the kept credential %s: %w", path, errNoCredential)
	}
	return User{Name: name, Password: secret}, nil
}

// store puts the file there whole or not at all.
func store(path string, u User, replace bool) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), credentialFile+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = fmt.Fprintf(tmp, "%s:%s\n", u.Name, u.Password)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if replace {
		return os.Rename(tmp.Name(), path)
	}
	return os.Link(tmp.Name(), path) // unlike a rename, it never replaces another relay's
}

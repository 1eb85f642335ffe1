// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"plumbline/relay/testbed"
)

// programs are those that the demo runs besides its own, with the Debian package
// that each is in.
var programs = []struct{ name, debian string }{
	{"bpftool", "bpftool"},
	{"turnutils_uclient", "coturn"},
	{"turnutils_peer", "coturn"},
	{"jq", "jq"},
}

// needed says everything that is missing at once, and what to do about it, before
// anything has been made.
func needed(bin string) error {
	var errs []error
	if err := testbed.Available(); err != nil {
		errs = append(errs, fmt.Errorf("needs root (sudo make demo): %w", err))
	}
	var missing, packages []string
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err != nil {
			missing = append(missing, p.name)
			if !slices.Contains(packages, p.debian) {
				packages = append(packages, p.debian)
			}
		}
	}
	if len(missing) > 0 {
		errs = append(errs, fmt.Errorf("%s not found in PATH (%s); on Debian: apt-get install --no-install-recommends %s",
			strings.Join(missing, ", "), os.Getenv("PATH"), strings.Join(packages, " ")))
	}
	for _, name := range []string{"relay", "analyze"} {
		// LookPath takes a path with a slash as it is, relative ones too.
		path := "./" + filepath.Join(bin, name)
		if filepath.IsAbs(bin) {
			path = filepath.Join(bin, name)
		}
		if _, err := exec.LookPath(path); err != nil {
			errs = append(errs, fmt.Errorf("run `make build` first: %w", err))
		}
	}
	return errors.Join(errs...)
}

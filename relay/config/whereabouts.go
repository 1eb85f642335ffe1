// SPDX-License-Identifier: Apache-2.0

package config

// Whereabouts reads from a file that Load refuses what it takes to find the
// relay that runs on it: relay.name, logs.dir and admin.socket, which never
// change while a relay runs. All else in the Config is as good as unknown and
// must not be taken for what is intended; secret files are not read. It returns nil where the file is no
// document, or one of the three can't be read.
func Whereabouts(path string) *Config {
	data, err := ReadFile(path)
	if err != nil {
		return nil
	}
	root, skip, _ := document(data)
	if root == nil {
		return nil
	}
	r := newReader(path, skip)
	c := defaults()
	if !r.sections(c, root) || !r.ok("relay.name", "logs.dir", "admin.socket") {
		return nil
	}
	return c
}

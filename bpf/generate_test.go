// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The committed objects are what the sources compile to, from any folder: no
// path and no time is in them.
func TestObjectsAreCurrent(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			cannot(t, "clang-14, llvm-14, libbpf-dev and go", err)
		}
	}
	if testing.Short() {
		t.Skip("SKIPPED: compiles the router")
	}
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "bpf"), 0o755))
	copyTo := func(from, to string) {
		b, err := os.ReadFile(from)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, to), b, 0o644))
	}
	copyTo("../go.mod", "go.mod")
	copyTo("../go.sum", "go.sum")
	sources, err := filepath.Glob("*.[ch]")
	check(t, err)
	for _, name := range append(sources, "doc.go") {
		copyTo(name, filepath.Join("bpf", name))
	}
	generate := exec.Command("go", "generate", "./bpf")
	generate.Dir = dir
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("go generate: %v\n%s", err, out)
	}
	for _, name := range []string{"router_bpfel.go", "router_bpfel.o"} {
		want, err := os.ReadFile(filepath.Join(dir, "bpf", name))
		check(t, err)
		got, err := os.ReadFile(name)
		check(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the sources give: run go generate ./bpf and commit it", name)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"

	"plumbline/bpf"
)

// benchmarkLine is what go test prints for a benchmark.
var benchmarkLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// router prints what one packet costs in the router alone, as package bpf's
// benchmarks measure it with BPF_PROG_TEST_RUN, and how many instructions the
// verifier walked.
func router(ctx context.Context, w io.Writer, progress func(string)) error {
	progress("the router alone, by BPF_PROG_TEST_RUN")
	r, err := bpf.Load(bpf.LoadOptions{MaxFlows: 16})
	if err != nil {
		return err
	}
	instructions, tag := r.VerifiedInstructions(), r.ProgramTag()
	if err := r.Close(); err != nil {
		return err
	}
	fmt.Fprintf(w, "The router alone, by BPF_PROG_TEST_RUN; the verifier walked %d instructions (tag %s)\n\n", instructions, tag)
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchtime", "300ms", "plumbline/bpf")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%v: %w:\n%s", cmd.Args, err, out)
	}
	rows := benchmarkRows(out)
	if len(rows) == 0 {
		fmt.Fprintf(w, "Package bpf has no benchmarks.\n\n")
		return nil
	}
	fmt.Fprintf(w, "| benchmark | result |\n| --- | --- |\n%s\n\n", strings.Join(rows, "\n"))
	return nil
}

// benchmarkRows makes rows of a table of go test's output.
func benchmarkRows(out []byte) []string {
	var rows []string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if m := benchmarkLine.FindStringSubmatch(lines.Text()); m != nil {
			rows = append(rows, fmt.Sprintf("| %s | %s |", m[1], strings.Join(strings.Split(strings.TrimSpace(m[2]), "\t"), ", ")))
		}
	}
	return rows
}

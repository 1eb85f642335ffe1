// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"regexp"
	"testing"

	"plumbline/bpf"
)

// Inlining, or another compiler, can multiply what the verifier walks.
const instructionBudget = 1000

func TestVerifiedInstructions(t *testing.T) {
	router := load(t, 4)
	n := router.VerifiedInstructions()
	t.Logf("verified %d instructions, tag %s", n, router.ProgramTag())
	if n == 0 || n > instructionBudget {
		t.Errorf("the verifier walked %d instructions, the budget is %d", n, instructionBudget)
	}
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(router.ProgramTag()) {
		t.Errorf("program tag %q", router.ProgramTag())
	}
}

// What each map takes of the kernel's memory with the default number of flows,
// in bytes: a preallocated hash would take 12 MB more before the first route.
func TestMemoryBudget(t *testing.T) {
	router := load(t, 0)
	if got := router.Maps().MaxFlows(); got != bpf.DefaultMaxFlows {
		t.Fatalf("%d flows", got)
	}
	const kib, mib = 1 << 10, 1 << 20
	budget := map[string]uint64{
		"config_slots":  8 * kib,
		"config_active": 12 * kib,
		"routes":        3 * mib, // the buckets; each route then takes about 112 bytes
		"flows":         15 * mib,
		"flow_counters": 4 * mib,
		"counters":      64 * kib,
		"observed":      64 * kib,
		"decisions":     300 * kib,
	}
	var sum uint64
	for name, m := range router.Maps().Kernel() {
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		used, ok := info.Memlock()
		if !ok {
			t.Fatalf("the kernel does not tell the memory of %s", name)
		}
		t.Logf("%-14s %9d bytes, %d entries of %d + %d", name, used, m.MaxEntries(), m.KeySize(), m.ValueSize())
		if budget[name] == 0 || used > budget[name] {
			t.Errorf("%s takes %d bytes, the budget is %d", name, used, budget[name])
		}
		sum += used
	}
	t.Logf("in all         %9d bytes", sum)
}

// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"plumbline/bpf"
)

// cannot skips a test loudly, or fails it where everything must run.
func cannot(t testing.TB, why string, err error) {
	t.Helper()
	if os.Getenv("PLUMBLINE_REQUIRE_ALL") == "1" {
		t.Fatalf("needs %s, and PLUMBLINE_REQUIRE_ALL=1: %v", why, err)
	}
	t.Skipf("SKIPPED, needs %s: %v", why, err)
}

// load brings a router into the kernel for one test.
func load(t testing.TB, maxFlows uint32) *bpf.Router {
	t.Helper()
	router, err := bpf.Load(bpf.LoadOptions{MaxFlows: maxFlows})
	if errors.Is(err, os.ErrPermission) || errors.Is(err, ebpf.ErrNotSupported) {
		cannot(t, "root, or CAP_BPF and CAP_NET_ADMIN, and Linux 6.1", err)
	}
	if err != nil {
		t.Fatalf("%+v", err) // with the verifier's log
	}
	t.Cleanup(func() {
		if err := router.Close(); err != nil {
			t.Error(err)
		}
	})
	return router
}

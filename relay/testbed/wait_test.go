// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"testing"
	"time"
)

// TestCloseWhileAnotherWaits guards against a Close that never returns: whoever
// started a command under a context that can end waits for it already.
func TestCloseWhileAnotherWaits(t *testing.T) {
	Require(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 8)
	for range cap(waited) {
		cmd := b.Host("peer").Command(ctx, "sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { waited <- cmd.Wait() }()
	}
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	patience := time.After(10 * time.Second)
	select {
	case err := <-closed:
		if err != nil {
			t.Fatal(err)
		}
	case <-patience:
		t.Fatal("Close did not return while others waited for the commands")
	}
	for range cap(waited) {
		select {
		case err := <-waited:
			if err == nil {
				t.Error("a command that was killed ended without an error")
			}
		case <-patience:
			t.Fatal("a Wait did not return after Close")
		}
	}
}

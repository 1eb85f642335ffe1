// SPDX-License-Identifier: Apache-2.0

package nexthop_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"plumbline/relay/nexthop"
	"plumbline/relay/testbed"
)

// TestNeedsNoPrivilege does everything on a thread that has given up all its
// capabilities, as a relay does once it has attached its router.
func TestNeedsNoPrivilege(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	relay, peer := b.Host("relay"), b.Host("peer")
	resolve(t, relay, peer.Addr())
	done := make(chan error)
	go func() {
		// Never unlocked: the thread, of no more use, ends with the goroutine.
		runtime.LockOSThread()
		done <- func() error {
			ns, err := netns.GetFromPath(relay.Path())
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return err
			}
			var none [2]unix.CapUserData
			if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
				return err
			}
			if err := netns.Set(ns); !errors.Is(err, unix.EPERM) {
				return errors.New("the thread still has its capabilities")
			}
			if _, err := nexthop.Changes(t.Context()); err != nil {
				return err
			}
			r, err := nexthop.NewResolver()
			if err != nil {
				return err
			}
			defer r.Close()
			if _, err := r.Resolve(relay.Addr(), peer.Addr()); err != nil {
				return err
			}
			return r.Confirm(relay.Addr(), peer.Addr())
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

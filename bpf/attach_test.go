// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"plumbline/bpf"
)

// veth makes a pair in a namespace of its own, in which the test then runs, and
// gives the number of one end.
func veth(t *testing.T, mtu int) int {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	check(t, err)
	own, err := netns.New()
	if err != nil {
		home.Close()
		runtime.UnlockOSThread()
		cannot(t, "CAP_SYS_ADMIN to make a network namespace", err)
	}
	t.Cleanup(func() {
		if err := netns.Set(home); err != nil {
			panic(err) // this thread must not run anything else
		}
		own.Close()
		home.Close()
		runtime.UnlockOSThread()
	})
	name := fmt.Sprintf("pl%d", os.Getpid()%100000)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"}))
	end, err := netlink.LinkByName(name)
	check(t, err)
	return end.Attrs().Index
}

func TestAttach(t *testing.T) {
	for _, mode := range []bpf.Mode{bpf.Native, bpf.Generic} {
		t.Run(string(mode), func(t *testing.T) {
			router := load(t, 4)
			ifindex := veth(t, 9000) // native needs xdp.frags at this MTU
			a, err := router.Attach(ifindex, mode)
			check(t, err)
			info, err := a.Info()
			check(t, err)
			want := bpf.AttachmentInfo{
				LinkID: info.LinkID, ProgramID: router.ProgramID(), ProgramTag: router.ProgramTag(),
				Ifindex: ifindex, Mode: mode,
			}
			if info != want || info.LinkID == 0 || info.ProgramID == 0 {
				t.Fatalf("attached as %+v, want %+v", info, want)
			}
			if _, err := router.Attach(ifindex, mode); !errors.Is(err, unix.EBUSY) {
				t.Errorf("attached twice: %v", err)
			}

			// Someone else detaches it.
			other, err := link.NewFromID(link.ID(info.LinkID))
			check(t, err)
			check(t, other.Detach())
			other.Close()
			if on, err := a.Attached(); err != nil || on {
				t.Fatalf("attached %t, %v; was detached from outside", on, err)
			}
			if info, err := a.Info(); err != nil || info.Ifindex != 0 {
				t.Fatalf("%+v, %v", info, err)
			}
			check(t, a.Detach())

			// The interface goes away.
			a, err = router.Attach(ifindex, mode)
			check(t, err)
			if on, err := a.Attached(); err != nil || !on {
				t.Fatalf("attached %t, %v", on, err)
			}
			end, err := netlink.LinkByIndex(ifindex)
			check(t, err)
			check(t, netlink.LinkDel(end))
			if on, err := a.Attached(); err != nil || on {
				t.Fatalf("attached %t, %v, to an interface that is gone", on, err)
			}
			check(t, a.Detach())
		})
	}
}

func TestAttachErrors(t *testing.T) {
	router := load(t, 4)
	veth(t, 1500)
	if _, err := router.Attach(9999, bpf.Native); !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
		t.Errorf("no such interface: %v", err)
	}
	if _, err := router.Attach(1, "fast"); err == nil {
		t.Error("a mode that there is not")
	}
}

// A pinned link outlives its router, and another router takes it over.
func TestAdoptLink(t *testing.T) {
	old := load(t, 4)
	dir := filepath.Join(bpffs(t), "edge-1")
	ifindex := veth(t, 1500)
	check(t, old.Pin(dir))
	a, err := old.Attach(ifindex, bpf.Generic)
	check(t, err)
	check(t, a.Pin(dir))
	check(t, a.Close())

	heir, err := bpf.Load(bpf.LoadOptions{Adopt: dir})
	check(t, err)
	defer heir.Close()
	if _, err := heir.AdoptLink(dir, ifindex, bpf.Native); err == nil {
		t.Error("adopted a link of another mode")
	}
	b, err := heir.AdoptLink(dir, ifindex, bpf.Generic)
	check(t, err)
	info, err := b.Info()
	check(t, err)
	if info.ProgramID != heir.ProgramID() || info.Ifindex != ifindex {
		t.Fatalf("the link holds %+v, want program %d", info, heir.ProgramID())
	}
	check(t, b.Detach())
	if _, err := os.Stat(filepath.Join(dir, "link")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link's pin is still there: %v", err)
	}
	if _, err := heir.AdoptLink(dir, ifindex, bpf.Generic); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("adopted a link that is gone: %v", err)
	}
	check(t, bpf.Unpin(dir))
}

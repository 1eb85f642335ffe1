// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"plumbline/bpf"
)

// bpffs mounts one for a test.
func bpffs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		cannot(t, "CAP_SYS_ADMIN to mount a bpffs", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestPins(t *testing.T) {
	router := load(t, 8)
	root := bpffs(t)
	dir := filepath.Join(root, "plumbline", "edge-1")
	check(t, router.Pin(dir))
	slot := goodConfig().Encode()
	check(t, router.Maps().WriteSlot(1, slot))
	check(t, router.Maps().PutRoute(keyNumber(1), 3))

	pinned, err := bpf.OpenPinned(dir)
	check(t, err)
	defer pinned.Close()
	if got, err := pinned.ReadSlot(1); err != nil || got != slot {
		t.Fatalf("the pin holds %x, %v", got, err)
	}
	if routes, err := pinned.Routes(); err != nil || len(routes) != 1 || routes[0].Number != 3 {
		t.Fatalf("the pin holds %+v, %v", routes, err)
	}
	if pinned.MaxFlows() != 8 {
		t.Fatalf("the pin has %d flows", pinned.MaxFlows())
	}
	// Opened to look, it must not be able to change anything.
	for what, err := range map[string]error{
		"slot": pinned.WriteSlot(0, slot), "active": pinned.WriteActive(bpf.Active{}),
		"route": pinned.PutRoute(keyNumber(2), 1), "deletion": pinned.DeleteRoute(keyNumber(1)),
		"flow": pinned.PutFlow(0, bpf.Flow{}), "expiry": pinned.SetExpiry(0, 1),
	} {
		if err == nil {
			t.Errorf("%s was written through maps opened for reading", what)
		}
	}

	// Another router takes the maps over, with all they hold.
	heir, err := bpf.Load(bpf.LoadOptions{MaxFlows: 99, Adopt: dir})
	check(t, err)
	defer heir.Close()
	if !heir.Adopted() || heir.Maps().MaxFlows() != 8 {
		t.Fatalf("adopted %t, %d flows", heir.Adopted(), heir.Maps().MaxFlows())
	}
	check(t, heir.Maps().PutRoute(keyNumber(2), 5))
	if n, found, err := router.Maps().LookupRoute(keyNumber(2)); err != nil || !found || n != 5 {
		t.Fatalf("the heir has maps of its own: %d, %t, %v", n, found, err)
	}
	check(t, router.Pin(dir)) // they are there
	check(t, heir.Pin(dir))
	if err := load(t, 8).Pin(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("pins were put over another's: %v", err)
	}
	again, err := bpf.OpenPinned(dir)
	check(t, err)
	if _, found, err := again.LookupRoute(keyNumber(2)); err != nil || !found {
		t.Errorf("a refused pin took the others away: %t, %v", found, err)
	}
	check(t, again.Close())

	check(t, bpf.Unpin(dir))
	check(t, bpf.Unpin(dir))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestOpenPinnedErrors(t *testing.T) {
	root := bpffs(t)
	if _, err := bpf.OpenPinned(filepath.Join(root, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	if _, err := bpf.OpenPinned(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty folder: %v", err)
	}
	if _, err := bpf.OpenPinned(t.TempDir()); err == nil || !strings.Contains(err.Error(), "mount -t bpf") {
		t.Errorf("not a bpffs: %v", err)
	}
	router := load(t, 8)
	if err := router.Pin(t.TempDir()); err == nil || !strings.Contains(err.Error(), "mount -t bpf") {
		t.Errorf("pinning outside a bpffs: %v", err)
	}

	// Maps of another layout.
	dir := filepath.Join(root, "other")
	check(t, router.Pin(dir))
	check(t, os.Remove(filepath.Join(dir, "flows")))
	other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 96, MaxEntries: 8, Flags: unix.BPF_F_MMAPABLE})
	check(t, err)
	defer other.Close()
	check(t, other.Pin(filepath.Join(dir, "flows")))
	if _, err := bpf.OpenPinned(dir); !errors.Is(err, ebpf.ErrMapIncompatible) {
		t.Errorf("other layout: %v", err)
	}
	if _, err := bpf.Load(bpf.LoadOptions{Adopt: dir}); !errors.Is(err, ebpf.ErrMapIncompatible) {
		t.Errorf("adopting another layout: %v", err)
	}

	// Maps that were not made together.
	check(t, os.Remove(filepath.Join(dir, "flows")))
	check(t, load(t, 16).Maps().Kernel()["flows"].Pin(filepath.Join(dir, "flows")))
	if _, err := bpf.OpenPinned(dir); err == nil || !strings.Contains(err.Error(), "belong together") {
		t.Errorf("maps of two relays: %v", err)
	}
}

// bpftool must name every field: it is what operators have at hand.
func TestDumpNamesFields(t *testing.T) {
	tool, err := exec.LookPath("bpftool")
	if err != nil {
		cannot(t, "bpftool", err)
	}
	router := load(t, 2)
	dir := filepath.Join(bpffs(t), "dump")
	check(t, router.Pin(dir))
	check(t, router.Maps().WriteSlot(0, goodConfig().Encode()))
	check(t, router.Maps().PutRoute(keyNumber(1), 1))
	for name, fields := range map[string]string{
		"config_slots":  "magic abi generation flags listen_ports lowest_port highest_port checksum",
		"config_active": "slot lease_until",
		"routes":        "remote local remote_port local_port channel",
		"flows":         "key source destination source_port destination_port channel mtu ifindex dst_mac src_mac expiry",
		"flow_counters": "packets bytes",
		"counters":      "received decisions_lost pass_none_config_unset relay_tx_to_peer_routed",
		"observed":      "generation packets",
	} {
		out, err := exec.Command(tool, "map", "dump", "pinned", filepath.Join(dir, name)).CombinedOutput()
		check(t, err)
		for _, field := range strings.Fields(fields) {
			if !strings.Contains(string(out), `"`+field+`"`) {
				t.Errorf("the dump of %s does not name %s:\n%s", name, field, out)
			}
		}
	}
}

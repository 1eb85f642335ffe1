// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"plumbline/logs/logstest"
	"plumbline/relay/testbed"
)

var devices atomic.Uint32

// newDevice makes a device that nobody sends to. It is removed at the end.
func newDevice(t *testing.T) string {
	t.Helper()
	testbed.Require(t)
	name := fmt.Sprintf("pl%x-%d", os.Getpid(), devices.Add(1))
	addDevice(t, name)
	t.Cleanup(func() { deleteDevice(name) })
	return name
}

func addDevice(t *testing.T, name string) {
	t.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatalf("making the device %s: %v", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
}

func deleteDevice(name string) {
	if l, err := netlink.LinkByName(name); err == nil {
		_ = netlink.LinkDel(l)
	}
}

// program is the id of the XDP program on a device, 0: none.
func program(t *testing.T, device string) uint32 {
	t.Helper()
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		return x.ProgId
	}
	return 0
}

// offloaded is the config with the router on a device. The relay's name makes
// its pins its own.
func (r *running) offloaded(device, more string) string {
	text := strings.Replace(r.yaml(""), "name: test", "name: "+device, 1)
	return strings.Replace(text, "{enabled: false}", fmt.Sprintf("{interface: %s, mode: generic%s}", device, more), 1)
}

func beginOffloaded(t *testing.T, device, more string) *running {
	t.Helper()
	return beginWith(t, func(r *running) string { return r.offloaded(device, more) })
}

// events is every line so far, whole ones only.
func (r *running) events() (all []map[string]any) {
	r.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, "logs", "relay.log"))
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var e map[string]any
		if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &e) == nil {
			all = append(all, e)
		}
	}
	return all
}

// leftNothing checks that neither a program nor a pin stayed.
func (r *running) leftNothing(device string) {
	r.Helper()
	if id := program(r.T, device); id != 0 {
		r.Errorf("program %d is still on %s", id, device)
	}
	if left, err := os.ReadDir(PinFolder(device)); err == nil {
		r.Errorf("pins are left: %v", left)
	}
}

// A reload that is under way when the relay ends must not attach the router
// again after it was taken off: its packets would be in no sum.
func TestReloadDuringStopAttachesNothing(t *testing.T) {
	for n := range 12 {
		device := newDevice(t)
		r := beginOffloaded(t, device, "")
		r.wait(`"event":"offload.attached"`)
		r.reload <- syscall.SIGHUP
		time.Sleep(time.Duration(n) * 300 * time.Microsecond)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		detached, final := false, false
		for _, line := range logstest.CheckDir(t, filepath.Join(r.dir, "logs")) {
			switch line.Event {
			case "offload.detached":
				detached = true
			case "datapath.counters":
				final = final || strings.Contains(string(line.Raw), `"final":true`)
			case "offload.attached", "config.applied":
				if detached || final {
					t.Errorf("%s after the router was taken off", line.Event)
				}
			}
		}
		if !detached || !final {
			t.Errorf("detached %t, final counters %t", detached, final)
		}
		r.leftNothing(device)
	}
}

// occupy puts another XDP program on a device until free is called.
func occupy(t *testing.T, device string) (free func()) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "other", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 2), asm.Return(), // XDP_PASS
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	other, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: l.Attrs().Index, Flags: link.XDPGenericMode})
	if err != nil {
		t.Fatal(err)
	}
	return func() { other.Close(); prog.Close() }
}

// A load that fails at its last step leaves nothing in the kernel and can be
// tried again; meanwhile user space serves.
func TestLoadThatFailsLeavesNothing(t *testing.T) {
	device := newDevice(t)
	free := occupy(t, device)
	r := beginOffloaded(t, device, "")
	line := r.wait(`"event":"offload.unavailable"`, "another XDP program is there")
	if !strings.Contains(line, `"consequence":"userspace"`) {
		t.Errorf("unavailable as %s", line)
	}
	if left, _ := os.ReadDir(PinFolder(device)); len(left) != 0 {
		t.Errorf("pins are left: %v", left)
	}
	r.serves()
	if s := r.status(); s.Offload.Attached || s.Datapath != "userspace" || s.Offload.Reason == "" {
		t.Errorf("status %+v", s)
	}

	// It can't be required now, and what can't be had changes nothing.
	r.edit(r.offloaded(device, ", required: true"))
	line = r.wait(`"event":"config.rolled_back"`, `"generation":2`)
	if !strings.Contains(line, `"kept_generation":1`) || !strings.Contains(line, "offload.required") {
		t.Errorf("rolled back as %s", line)
	}
	if s := r.status(); s.Generation != 1 {
		t.Errorf("generation %d is in force after a rollback", s.Generation)
	}

	free()
	r.reload <- syscall.SIGHUP
	r.wait(`"event":"offload.attached"`)
	r.wait(`"event":"config.applied"`, `"generation":3`, `"verified":true`)
	if s := r.status(); !s.Offload.Attached || s.Offload.Reason != "" {
		t.Errorf("status %+v", s)
	}
	r.sumsAreExact()
	r.leftNothing(device)
}

func TestOffloadIsSwitchedLive(t *testing.T) {
	device := newDevice(t)
	r := beginOffloaded(t, device, "")
	r.wait(`"event":"config.applied"`, `"generation":1`, `"enabled":true`, `"verified":true`)
	r.edit(r.offloaded(device, ", enabled: false"))
	r.wait(`"event":"config.applied"`, `"generation":2`, `"enabled":false`, `"verified":true`)
	if s := r.status(); s.Offload.Intended || s.Datapath != "userspace" {
		t.Errorf("switched off: %+v", s)
	}
	r.serves()
	r.edit(r.offloaded(device, ", required: true"))
	r.wait(`"event":"config.applied"`, `"generation":3`, `"enabled":true`, `"verified":true`)
	if s := r.status(); !s.Offload.Intended || s.Datapath != "kernel" {
		t.Errorf("switched on: %+v", s)
	}
	r.sumsAreExact()
	r.leftNothing(device)
}

// Off at the start, on later: the same as on from the start.
func TestOffloadIsSwitchedOnLater(t *testing.T) {
	device := newDevice(t)
	r := beginOffloaded(t, device, ", enabled: false")
	r.wait(`"event":"config.applied"`, `"generation":1`, `"kernel":null`)
	r.edit(r.offloaded(device, ""))
	r.wait(`"event":"offload.attached"`)
	r.wait(`"event":"config.applied"`, `"generation":2`, `"verified":true`)
	if pinned, _ := os.ReadDir(PinFolder(device)); len(pinned) == 0 {
		t.Error("nothing is pinned")
	}
	r.sumsAreExact()
	r.leftNothing(device)
}

// An interface that is deleted takes the router with it; one that is made anew
// under its name gets it back, without anybody's doing.
func TestInterfaceIsMadeAnew(t *testing.T) {
	device := newDevice(t)
	r := beginOffloaded(t, device, "")
	r.wait(`"event":"offload.attached"`)
	deleteDevice(device)
	r.wait(`"event":"offload.detached"`, "from outside")
	r.wait(`"event":"offload.unavailable"`, device)
	r.serves()
	if s := r.status(); s.Offload.Attached || !strings.Contains(s.Offload.Reason, device) {
		t.Errorf("status without the interface: %+v", s.Offload)
	}
	// What can't be had can't be required now.
	r.edit(r.offloaded(device, ", required: true"))
	r.wait(`"event":"config.rolled_back"`, `"generation":2`, `"kept_generation":1`, "offload.required")
	addDevice(t, device)
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	r.wait(`"event":"offload.attached"`, fmt.Sprintf(`"ifindex":%d,`, l.Attrs().Index))
	if s := r.status(); !s.Offload.Attached {
		t.Errorf("status with the new interface: %+v", s.Offload)
	}
	if lines := strings.Count(fmt.Sprint(r.events()), "offload.unavailable"); lines != 1 {
		t.Errorf("%d lines say that the interface is gone, want one", lines)
	}
	r.sumsAreExact()
	r.leftNothing(device)
}

// What is set down keeps the router; user space serves other addresses on.
func TestInterfaceIsSetDown(t *testing.T) {
	device := newDevice(t)
	r := beginOffloaded(t, device, "")
	r.wait(`"event":"offload.attached"`)
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(l); err != nil {
		t.Fatal(err)
	}
	r.serves()
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	if s := r.status(); !s.Offload.Attached || program(t, device) == 0 {
		t.Errorf("status %+v, program %d", s.Offload, program(t, device))
	}
	r.sumsAreExact()
	r.leftNothing(device)
}

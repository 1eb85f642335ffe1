// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"plumbline/bpf"
)

// die leaves in the kernel what a relay leaves that is killed: pinned maps with
// a config of that generation, and the router on its device.
func die(t *testing.T, device string, generation uint32) {
	t.Helper()
	router, err := bpf.Load(bpf.LoadOptions{MaxFlows: 16})
	if err != nil {
		t.Fatal(err)
	}
	cfg := bpf.Config{Generation: generation, Enabled: true, LowestPort: 1, HighestPort: 2, ListenPorts: []uint16{3478}}
	if err := router.Maps().WriteSlot(1, cfg.Encode()); err != nil {
		t.Fatal(err)
	}
	dir := PinFolder(device)
	if err := router.Pin(dir); err != nil {
		t.Fatal(err)
	}
	l, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	a, err := router.Attach(l.Attrs().Index, bpf.Generic)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Pin(dir); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := router.Close(); err != nil {
		t.Fatal(err)
	}
}

// The next relay of that name takes the dead one's router off before it goes on,
// not some time later, and numbers on from its generation.
func TestPinsOfADeadRelayAreCleared(t *testing.T) {
	device := newDevice(t)
	for n := range 20 {
		generation := uint32(41 + n)
		die(t, device, generation)
		if program(t, device) == 0 {
			t.Fatal("the dead relay's router is gone before anybody took it off")
		}
		p, got, err := openPins(device)
		if err != nil {
			t.Fatal(err)
		}
		if id := program(t, device); id != 0 {
			t.Errorf("program %d is still on the device", id)
		}
		if left, _ := os.ReadDir(p.dir); got != generation || len(left) != 0 {
			t.Errorf("generation %d, want %d; left: %v", got, generation, left)
		}
		if err := p.remove(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGenerationGoesOnAfterACrash(t *testing.T) {
	device := newDevice(t)
	die(t, device, 41)
	r := beginOffloaded(t, device, "")
	r.wait(`"event":"config.applied"`, `"generation":42`, `"verified":true`)
	r.wait(`"event":"offload.attached"`)
	r.sumsAreExact()
	r.leftNothing(device)
}

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

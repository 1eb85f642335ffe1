// SPDX-License-Identifier: Apache-2.0

package device_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"plumbline/relay/device"
	"plumbline/relay/testbed"
)

func inspect(t *testing.T, h *testbed.Host, name string) device.Info {
	t.Helper()
	var i device.Info
	if err := h.Do(func() (err error) { i, err = device.Inspect(name); return err }); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestInspect(t *testing.T) {
	b := testbed.New(t, testbed.Options{MTU: 1400})
	relay := b.Host("relay")
	got := inspect(t, relay, "eth0")
	eth0 := relay.Interfaces[0]
	if got.Name != "eth0" || got.Ifindex != eth0.Index || got.MTU != 1400 || got.Kind != "veth" || got.Driver != "veth" || !got.Up || got.Loopback || got.HardwareAddr.String() != eth0.MAC.String() {
		t.Errorf("got %+v", got)
	}
	for _, want := range []netip.Prefix{netip.PrefixFrom(eth0.IPv4, 24), netip.PrefixFrom(eth0.IPv6, 64)} {
		if !slices.Contains(got.Addresses, want) {
			t.Errorf("addresses %v, want %v among them", got.Addresses, want)
		}
	}
	if lo := inspect(t, relay, "lo"); !lo.Loopback || lo.Kind != "" {
		t.Errorf("got %+v", lo)
	}
	if br := inspect(t, b.Switch(), "br0"); br.Kind != "bridge" || device.AutoMode(br) != device.Generic {
		t.Errorf("got %+v", br)
	}
	eth0Link, err := relay.Netlink().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := relay.Netlink().LinkSetDown(eth0Link); err != nil {
		t.Fatal(err)
	}
	if inspect(t, relay, "eth0").Up {
		t.Error("up although it was set down")
	}
}

func TestMissingDeviceNamesThoseThatExist(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	for _, name := range []string{"eth9", "", "a-name-that-is-longer-than-any-link"} {
		if err := b.Host("relay").Do(func() error {
			_, err := device.Inspect(name)
			if !errors.Is(err, device.ErrNotFound) || !strings.Contains(err.Error(), "lo, ") || !strings.Contains(err.Error(), "eth0") {
				t.Errorf("%q: got %v", name, err)
			}
			if _, err := device.TransmitErrors(name); !errors.Is(err, device.ErrNotFound) {
				t.Errorf("transmit errors of %q: got %v", name, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAutoMode(t *testing.T) {
	for name, tc := range map[string]struct {
		info device.Info
		want string
	}{
		"a NIC that says it can":       {device.Info{Driver: "mlx5_core", Features: device.Basic, FeaturesKnown: true}, device.Native},
		"a NIC that says it can't":     {device.Info{Driver: "e1000", FeaturesKnown: true}, device.Generic},
		"a NIC, nobody knows":          {device.Info{Driver: "ixgbe"}, device.Native},
		"veth that says it can":        {device.Info{Kind: "veth", Driver: "veth", Features: device.Basic | device.Transmit, FeaturesKnown: true}, device.Generic},
		"a kind that nobody has heard": {device.Info{Kind: "newkind"}, device.Generic},
		"loopback":                     {device.Info{Loopback: true}, device.Generic},
	} {
		mode, reason := device.ExplainMode(tc.info)
		if mode != tc.want || device.AutoMode(tc.info) != tc.want || reason == "" {
			t.Errorf("%s: %s (%s), want %s", name, mode, reason, tc.want)
		}
	}
}

func TestXDPFeatures(t *testing.T) {
	for _, pass := range []bool{true, false} {
		b := testbed.New(t, testbed.Options{SwitchXDPPass: pass})
		relay := b.Host("relay")
		i := inspect(t, relay, "eth0")
		if !i.FeaturesKnown && beforeNetdevFamily(t) {
			t.Skip("this kernel does not tell XDP features (before Linux 6.3)")
		}
		if !i.FeaturesKnown {
			t.Fatal("this kernel tells XDP features, but they were not found")
		}
		if i.Features&device.Basic == 0 || i.Features.TransmitsRedirected() != pass {
			t.Errorf("with a program on the other end %t: features %s", pass, i.Features)
		}
		if lo := inspect(t, relay, "lo"); lo.Features != 0 {
			t.Errorf("lo: features %s, want none", lo.Features)
		}
		if err := relay.Do(func() error {
			_, err := device.XDPFeatures(9999)
			if !errors.Is(err, device.ErrNotFound) {
				t.Errorf("device 9999: %v", err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// beforeNetdevFamily tells kernels that must know from those that can't.
func beforeNetdevFamily(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	release := unix.ByteSliceToString(u.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		t.Fatalf("kernel release %q: %v", release, err)
	}
	return major < 6 || major == 6 && minor < 3
}

func TestFeaturesText(t *testing.T) {
	for f, want := range map[device.Features]string{
		0:                                     "none",
		device.Basic | device.Transmit:        "basic,ndo-xmit",
		device.Basic | device.Features(1<<20): "basic,0x100000",
	} {
		if got := f.String(); got != want {
			t.Errorf("%#x: %q, want %q", uint64(f), got, want)
		}
	}
}

func TestNoStatisticsIsUnknownNotZero(t *testing.T) {
	b := testbed.New(t, testbed.Options{})
	// A bridge has no driver statistics; lo has no ethtool of its own at all. A
	// TAP has neither, and is a device that a router may well be attached to.
	tap := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}, Mode: netlink.TUNTAP_MODE_TAP}
	if err := b.Switch().Do(func() error { return netlink.LinkAdd(tap) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Switch().Netlink().LinkDel(tap) })
	for _, name := range []string{"br0", "lo", "tap0"} {
		if err := b.Switch().Do(func() error {
			n, err := device.TransmitErrors(name)
			if !errors.Is(err, device.ErrUnknown) || n != 0 {
				t.Errorf("%s: %d, %v, want ErrUnknown", name, n, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTransmitErrorsOnVeth shows which losses of native XDP_TX can be seen.
func TestTransmitErrorsOnVeth(t *testing.T) {
	const frames = 20
	for name, tc := range map[string]struct {
		options         testbed.Options
		lost, delivered uint64
	}{
		"nothing on the other end": {testbed.Options{}, frames, 0},
		"a program there":          {testbed.Options{SwitchXDPPass: true}, 0, frames},
	} {
		t.Run(name, func(t *testing.T) {
			b := testbed.New(t, tc.options)
			relay := b.Host("relay")
			before := transmitErrors(t, relay)
			delivered := reflected(t, b, frames)
			if got := transmitErrors(t, relay) - before; got != tc.lost {
				t.Errorf("%d transmit errors for %d frames, want %d", got, frames, tc.lost)
			}
			if delivered != tc.delivered {
				t.Errorf("%d of %d frames came back, want %d", delivered, frames, tc.delivered)
			}
		})
	}
}

func transmitErrors(t *testing.T, h *testbed.Host) (n uint64) {
	t.Helper()
	if err := h.Do(func() (err error) { n, err = device.TransmitErrors("eth0"); return err }); err != nil {
		t.Fatal(err)
	}
	return n
}

// reflected sends frames from the client to the relay, whose XDP program sends
// each back, and counts those that arrive. Frames are told from all others by
// their length.
func reflected(t *testing.T, b *testbed.Bed, frames int) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := b.Warm(ctx); err != nil {
		t.Fatal(err)
	}
	client, relay := b.Host("client"), b.Host("relay")
	seen := reflector(t, relay, 3) // XDP_TX
	back := reflector(t, client, 1)
	conn, err := client.ListenUDP(netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range frames {
		if _, err := conn.WriteToUDPAddrPort(make([]byte, payload), netip.AddrPortFrom(relay.Addr(), 9)); err != nil {
			t.Fatal(err)
		}
	}
	wait := func(count func() uint64) uint64 {
		for n := uint64(0); ; {
			if n = count(); n >= uint64(frames) || ctx.Err() != nil {
				return n
			}
			time.Sleep(time.Millisecond) // a map has no event to wait for
		}
	}
	if n := wait(seen); n != uint64(frames) {
		t.Fatalf("the relay's program saw %d of %d frames", n, frames)
	}
	// A frame that is delivered is so within the softirq that sent it, or that
	// raised it on the same CPU; one that is lost can't be waited for.
	for end := time.Now().Add(300 * time.Millisecond); back() < uint64(frames) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return back()
}

const payload = 333

// reflector attaches to eth0 a native program that counts the frames of the
// test, swaps their MACs, and ends with the verdict; all else it passes.
func reflector(t *testing.T, h *testbed.Host, verdict int32) (count func() uint64) {
	t.Helper()
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { counts.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "reflector", Type: ebpf.XDP, License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R6, asm.R1, 0, asm.Word), // data
			asm.LoadMem(asm.R7, asm.R1, 4, asm.Word), // data_end
			asm.Mov.Reg(asm.R2, asm.R6),
			asm.Add.Imm(asm.R2, 14+20+8+payload),
			asm.JNE.Reg(asm.R2, asm.R7, "pass"), // exactly the test's length
			asm.Mov.Reg(asm.R2, asm.R6),
			asm.Add.Imm(asm.R2, 14),
			asm.JGT.Reg(asm.R2, asm.R7, "pass"), // what the verifier understands
			asm.LoadMem(asm.R1, asm.R6, 0, asm.Word),
			asm.LoadMem(asm.R2, asm.R6, 4, asm.Half),
			asm.LoadMem(asm.R3, asm.R6, 6, asm.Word),
			asm.LoadMem(asm.R4, asm.R6, 10, asm.Half),
			asm.StoreMem(asm.R6, 0, asm.R3, asm.Word),
			asm.StoreMem(asm.R6, 4, asm.R4, asm.Half),
			asm.StoreMem(asm.R6, 6, asm.R1, asm.Word),
			asm.StoreMem(asm.R6, 10, asm.R2, asm.Half),
			asm.StoreImm(asm.RFP, -4, 0, asm.Word),
			asm.LoadMapPtr(asm.R1, counts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "pass"),
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
			asm.Mov.Imm(asm.R0, verdict),
			asm.Return(),
			asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"), // XDP_PASS
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	if err := h.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: h.Interfaces[0].Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return func() uint64 {
		var n uint64
		if err := counts.Lookup(uint32(0), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

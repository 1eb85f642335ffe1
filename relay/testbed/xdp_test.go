// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// TestSwitchXDPPassMakesNativeTransmitDeliver guards what the option is for: a
// frame reflected with XDP_TX arrives with it, and does not without.
func TestSwitchXDPPassMakesNativeTransmitDeliver(t *testing.T) {
	for _, pass := range []bool{true, false} {
		b := New(t, Options{SwitchXDPPass: pass})
		client, relay := b.Host("client"), b.Host("relay")
		if err := b.Warm(deadline(t)); err != nil {
			t.Fatal(err)
		}
		reflect(t, relay)
		before := received(t, client)
		conn, err := client.ListenUDP(netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const frames = 5
		for range frames {
			if _, err := conn.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(relay.Addr(), 9)); err != nil {
				t.Fatal(err)
			}
		}
		if pass {
			for end := time.Now().Add(5 * time.Second); received(t, client) < before+frames; {
				if time.Now().After(end) {
					t.Fatalf("%d of %d reflected frames came back", received(t, client)-before, frames)
				}
			}
			continue
		}
		if got := received(t, client) - before; got >= frames {
			t.Errorf("without the option %d of %d reflected frames came back: the option is not what delivers them", got, frames)
		}
	}
}

// reflect attaches a native XDP program to the host's eth0 that swaps the MACs
// of UDP frames and sends them back.
func reflect(t *testing.T, h *Host) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "reflect", Type: ebpf.XDP, License: "Apache-2.0",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
			asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, 34), // Ethernet and IPv4
			asm.JGT.Reg(asm.R4, asm.R3, "pass"),
			asm.LoadMem(asm.R5, asm.R2, 23, asm.Byte), // IPv4 protocol
			asm.JNE.Imm(asm.R5, unix.IPPROTO_UDP, "pass"),
			asm.LoadMem(asm.R5, asm.R2, 0, asm.Word),
			asm.LoadMem(asm.R6, asm.R2, 4, asm.Half),
			asm.LoadMem(asm.R7, asm.R2, 6, asm.Word),
			asm.LoadMem(asm.R8, asm.R2, 10, asm.Half),
			asm.StoreMem(asm.R2, 0, asm.R7, asm.Word),
			asm.StoreMem(asm.R2, 4, asm.R8, asm.Half),
			asm.StoreMem(asm.R2, 6, asm.R5, asm.Word),
			asm.StoreMem(asm.R2, 10, asm.R6, asm.Half),
			asm.Mov.Imm(asm.R0, 3), // XDP_TX
			asm.Return(),
			asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"), // XDP_PASS
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	if err := h.Do(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: h.Interfaces[0].Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func received(t *testing.T, h *Host) uint64 {
	t.Helper()
	l, err := h.Netlink().LinkByIndex(h.Interfaces[0].Index)
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Statistics.RxPackets
}

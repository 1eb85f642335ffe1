// SPDX-License-Identifier: Apache-2.0

package bpf_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"plumbline/bpf"
)

// far is the other end of the router's cable: frames go in and come out there.
type far struct {
	t  *testing.T
	fd int
	to unix.SockaddrLinklayer
}

func openFar(t *testing.T, name string) *far {
	t.Helper()
	end, err := netlink.LinkByName(name)
	check(t, err)
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	check(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	f := &far{t: t, fd: fd, to: unix.SockaddrLinklayer{Protocol: all, Ifindex: end.Attrs().Index}}
	check(t, unix.Bind(fd, &f.to))
	wait := unix.NsecToTimeval(int64(5 * time.Second))
	check(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait))
	return f
}

func (f *far) send(frame []byte) {
	f.t.Helper()
	check(f.t, unix.Sendto(f.fd, frame, 0, &f.to))
}

// receive waits for a frame of UDP that came in, not one that we sent.
func (f *far) receive() []byte {
	f.t.Helper()
	buffer := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(f.fd, buffer, 0)
		if err != nil {
			f.t.Fatalf("nothing came out of the router: %v", err)
		}
		l, ok := from.(*unix.SockaddrLinklayer)
		if !ok || l.Pkttype == unix.PACKET_OUTGOING || n < 42 ||
			binary.BigEndian.Uint16(buffer[12:]) != unix.ETH_P_IP || buffer[23] != unix.IPPROTO_UDP {
			continue
		}
		return bytes.Clone(buffer[:n])
	}
}

// Frames through a cable, both ways, in both modes. A native XDP_TX on veth is
// delivered only if the far end has a program too, so it gets an empty one.
func TestWire(t *testing.T) {
	for _, mode := range []bpf.Mode{bpf.Generic, bpf.Native} {
		t.Run(string(mode), func(t *testing.T) {
			p := newPair(t, 4)
			ifindex := veth(t, 1500)
			near, err := netlink.LinkByIndex(ifindex)
			check(t, err)
			farName := fmt.Sprintf("pl%dp", os.Getpid()%100000)
			farEnd, err := netlink.LinkByName(farName)
			check(t, err)
			check(t, netlink.LinkSetUp(near))
			check(t, netlink.LinkSetUp(farEnd))
			if mode == bpf.Native {
				empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{
					Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
				})
				check(t, err)
				defer empty.Close()
				l, err := link.AttachXDP(link.XDPOptions{Program: empty, Interface: farEnd.Attrs().Index, Flags: link.XDPDriverMode})
				check(t, err)
				defer l.Close()
			}
			wire := openFar(t, farName)

			m := scene()
			for i := range m.Flows[:2] {
				m.Flows[i].Ifindex = uint32(ifindex)
			}
			p.set(t, m)
			a, err := p.router.Attach(ifindex, mode)
			check(t, err)
			before, err := p.maps.Counters()
			check(t, err)

			const rounds = 50
			for n := range rounds {
				payload := bytes.Repeat([]byte{byte(n)}, 20*n)
				wire.send(fromClient(payload))
				got := wire.receive()
				checkSums(t, got)
				if !bytes.Equal(got[42:], payload) || [6]byte(got) != peerMAC || [6]byte(got[6:]) != relayMAC {
					t.Fatalf("to the peer came\n%x", got)
				}
				wire.send(fromPeer(payload))
				got = wire.receive()
				checkSums(t, got)
				if !bytes.Equal(got[42:], channelData(channel, payload)) || [6]byte(got) != clientMAC {
					t.Fatalf("to the client came\n%x", got)
				}
			}
			check(t, a.Detach())
			check(t, bpf.GracePeriod())
			after, err := p.maps.Counters()
			check(t, err)
			since := after.Sub(before)
			if since.Relayed() != 2*rounds || since.Received != since.Decided() || since.Dropped() != 0 {
				t.Fatalf("counted %s", outcomeOf(since))
			}
			for flow := range uint32(2) {
				if packets, payload, err := p.maps.FlowTraffic(flow); err != nil || packets != rounds || payload != 20*rounds*(rounds-1)/2 {
					t.Fatalf("flow %d: %d packets, %d bytes, %v", flow, packets, payload, err)
				}
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"plumbline/relay/testbed"
)

// readTimeout bounds a blocking read.
const readTimeout = 50 * time.Millisecond

// openUDP opens a blocking IPv4 UDP socket on a host, connected to an address.
// Blocking and without the run-time's poller, whose costs would count in each
// round trip.
func openUDP(host *testbed.Host, local, to netip.AddrPort) (fd int, err error) {
	err = host.Do(func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("opening a UDP socket on %s: %w", host.Name, err)
	}
	if err := prepare(fd, local, to); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("UDP socket on %s, from %s to %s: %w", host.Name, local, to, err)
	}
	return fd, nil
}

func prepare(fd int, local, to netip.AddrPort) error {
	timeout := unix.NsecToTimeval(int64(readTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return fmt.Errorf("setting its read timeout: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: local.Addr().As4(), Port: int(local.Port())}); err != nil {
		return fmt.Errorf("binding it: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		return fmt.Errorf("connecting it: %w", err)
	}
	return nil
}

func localAddress(fd int) (netip.AddrPort, error) {
	a, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("asking for a socket's address: %w", err)
	}
	in, ok := a.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("a socket has the address %v, want an IPv4 one", a)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)), nil
}

// transmit and poll are send and receive by a thread that does not give up its
// CPU.
func transmit(fd int, p []byte) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0, unix.EAGAIN, unix.ENOBUFS, unix.ECONNREFUSED: // the last: an ICMP answer to an earlier one
		return nil
	}
	return fmt.Errorf("sending: %w", errno)
}

// poll returns 0 when nothing is there.
func poll(fd int, p []byte) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
		return 0, nil
	}
	return 0, fmt.Errorf("receiving: %w", errno)
}

// yield lets another thread that waits for this CPU run (sched_yield(2)).
func yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

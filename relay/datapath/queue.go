// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// QueueDrops is how many datagrams the kernel dropped at a UDP socket, mostly
// because its queue was full; 0 when the socket is closed. It is the same number
// that SO_RXQ_OVFL attaches to datagrams (sk_drops), asked for with SO_MEMINFO,
// because a control message only tells of drops before a datagram that is still
// to come.
func QueueDrops(raw syscall.RawConn) uint64 {
	const drops = 8 // SK_MEMINFO_DROPS, include/uapi/linux/sock_diag.h
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	var errno syscall.Errno
	err := raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	})
	if err != nil || errno != 0 {
		return 0
	}
	return uint64(info[drops])
}

// SetReadBuffer sets the queue of a UDP socket in bytes, beyond
// net.core.rmem_max where this process may (CAP_NET_ADMIN), else up to it.
func SetReadBuffer(conn *net.UDPConn, bytes int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var forced error
	err = raw.Control(func(fd uintptr) {
		forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes)
	})
	if err != nil || forced == nil {
		return err
	}
	return conn.SetReadBuffer(bytes)
}

// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxDatagram holds any UDP payload: 65,507 bytes over IPv4 and 65,527 over
// IPv6 without a jumbo payload option.
const maxDatagram = 65536

// A receiver is the arguments of recvmsg(2), kept so that a call allocates
// nothing. The net package's ReadMsgUDPAddrPort would wait for each datagram
// with a buffer in hand.
type receiver struct {
	hdr  unix.Msghdr
	iov  unix.Iovec
	name unix.RawSockaddrInet6 // the larger of both families
	oob  [128]byte
}

// receive reads one datagram without waiting; errno is EAGAIN when there is
// none.
func (r *receiver) receive(fd uintptr, into []byte) (n int, errno unix.Errno) {
	r.iov.Base = &into[0]
	r.iov.SetLen(len(into))
	r.hdr = unix.Msghdr{
		Name:    (*byte)(unsafe.Pointer(&r.name)),
		Namelen: unix.SizeofSockaddrInet6,
		Iov:     &r.iov,
		Control: &r.oob[0],
	}
	r.hdr.SetIovlen(1)
	r.hdr.SetControllen(len(r.oob))
	got, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&r.hdr)), unix.MSG_DONTWAIT)
	return int(got), errno
}

// truncated says that the datagram was longer than the buffer.
func (r *receiver) truncated() bool { return r.hdr.Flags&unix.MSG_TRUNC != 0 }

// from is the datagram's source. A link-local address keeps its interface as a
// numeric zone, because an answer needs it.
func (r *receiver) from() netip.AddrPort {
	port := networkOrder(r.name.Port)
	if r.name.Family == unix.AF_INET {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&r.name))
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), port)
	}
	addr := netip.AddrFrom16(r.name.Addr)
	if addr.IsLinkLocalUnicast() && r.name.Scope_id != 0 {
		addr = addr.WithZone(strconv.FormatUint(uint64(r.name.Scope_id), 10))
	}
	return netip.AddrPortFrom(addr, port)
}

// destination is the address that the datagram was sent to, from the packet
// information of the socket (ip(7) IP_PKTINFO, ipv6(7) IPV6_PKTINFO). unicast
// is false when the packet came to this host as a broadcast or multicast.
func (r *receiver) destination() (addr netip.Addr, unicast, ok bool) {
	rest := r.oob[:r.hdr.Controllen]
	for len(rest) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&rest[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(rest) {
			break
		}
		data := rest[unix.CmsgLen(0):size]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			// spec_dst is the local address; it differs from the header's
			// destination only when that was not unicast.
			return netip.AddrFrom4(info.Addr), info.Addr == info.Spec_dst, true
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			addr := netip.AddrFrom16(info.Addr)
			return addr, !addr.IsMulticast(), true
		}
		next := unix.CmsgSpace(size - unix.CmsgLen(0))
		if next > len(rest) {
			break
		}
		rest = rest[next:]
	}
	return netip.Addr{}, false, false
}

// A sender is the arguments of sendmsg(2), kept so that a call allocates
// nothing. It is not safe for concurrent use.
type sender struct {
	hdr   unix.Msghdr
	iov   unix.Iovec
	name  unix.RawSockaddrInet6
	oob   [64]byte
	errno unix.Errno
	call  func(fd uintptr) // s.sendmsg, bound once
}

func (s *sender) init() { s.call = s.sendmsg }

// sendmsg never waits: a relay that waits for one flow's queue would hold back
// all others.
func (s *sender) sendmsg(fd uintptr) {
	for range 2 {
		_, _, s.errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&s.hdr)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		// An ICMP error of an earlier datagram is reported, and cleared, by
		// the next call, which has then sent nothing.
		if s.errno != unix.ECONNREFUSED && s.errno != unix.EINTR {
			return
		}
	}
}

// send sends one datagram. A valid source sets the address that it leaves
// from, for sockets on a wildcard address. The errno of a closed socket is
// EBADF.
//
// RawConn.Control, unlike Write, only holds the descriptor open: senders of
// different goroutines do not wait for each other.
func (s *sender) send(conn syscall.RawConn, to netip.AddrPort, source netip.Addr, payload []byte) unix.Errno {
	s.hdr = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&s.name)), Iov: &s.iov}
	s.hdr.SetIovlen(1)
	s.iov.Base = unsafe.SliceData(payload)
	s.iov.SetLen(len(payload))
	scope := uint32(0)
	if addr := to.Addr(); addr.Is4() {
		in4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.name))
		*in4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(to.Port()), Addr: addr.As4()}
		s.hdr.Namelen = unix.SizeofSockaddrInet4
	} else {
		if zone := addr.Zone(); zone != "" {
			n, _ := strconv.ParseUint(zone, 10, 32)
			scope = uint32(n)
		}
		s.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(to.Port()), Addr: addr.As16(), Scope_id: scope}
		s.hdr.Namelen = unix.SizeofSockaddrInet6
	}
	if source.IsValid() {
		s.setSource(source, scope)
	}
	if err := conn.Control(s.call); err != nil {
		s.errno = unix.EBADF
	}
	s.iov.Base = nil
	return s.errno
}

func (s *sender) setSource(source netip.Addr, scope uint32) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&s.oob[0]))
	data := unsafe.Pointer(&s.oob[unix.CmsgLen(0)])
	size := unix.SizeofInet6Pktinfo
	if source.Is4() {
		size = unix.SizeofInet4Pktinfo
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		*(*unix.Inet4Pktinfo)(data) = unix.Inet4Pktinfo{Spec_dst: source.As4()}
	} else {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
		*(*unix.Inet6Pktinfo)(data) = unix.Inet6Pktinfo{Addr: source.As16(), Ifindex: scope}
	}
	h.SetLen(unix.CmsgLen(size))
	s.hdr.Control = &s.oob[0]
	s.hdr.SetControllen(unix.CmsgSpace(size))
}

// networkOrder turns a port into the number whose bytes in memory are
// big-endian, and back.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

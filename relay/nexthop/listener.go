// SPDX-License-Identifier: Apache-2.0

package nexthop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// receiveBuffer is how much the kernel may keep for us, in bytes. Without
// privilege net.core.rmem_max caps it.
const receiveBuffer = 1 << 20

// groups are the multicast groups of rtnetlink that next hops depend on.
var groups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEXTHOP,
}

// listener reads rtnetlink's notifications.
type listener struct {
	file *os.File
	raw  syscall.RawConn
	buf  []byte
	lost bool // notifications were discarded and the queue is not empty since
}

func listen(bufferSize int) (*listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	file := os.NewFile(uintptr(fd), "rtnetlink")
	fail := func(what string, err error) (*listener, error) {
		_ = file.Close()
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bufferSize); err != nil {
		return fail("sizing rtnetlink's receive buffer", err)
	}
	addr := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		addr.Groups |= 1 << (g - 1)
	}
	if err := unix.Bind(fd, addr); err != nil {
		return fail("subscribing to rtnetlink's notifications", err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return fail("opening rtnetlink", err)
	}
	return &listener{file: file, raw: raw, buf: make([]byte, 64<<10)}, nil
}

// run merges what it reads into batches for out until ctx ends.
func (l *listener) run(ctx context.Context, out chan<- Batch) {
	defer close(out)
	ctx, cancel := context.WithCancel(ctx)
	read := make(chan Batch)
	go func() {
		defer close(read)
		defer cancel()
		for {
			b, err := l.next()
			if err != nil {
				return
			}
			select {
			case read <- b:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { // ends the reader, and waits for it
		cancel()
		_ = l.file.Close()
		for range read {
		}
	}()
	var p pending
	for {
		offer := out
		if p.empty() {
			offer = nil
		}
		select {
		case b, ok := <-read:
			if !ok {
				return
			}
			p.add(b)
		case offer <- p.batch:
			p.take()
		case <-ctx.Done():
			return
		}
	}
}

// next blocks until something has changed.
//
// ENOBUFS says that the kernel had to discard notifications. It says so only
// once: until the queue has run empty, further ones are discarded in silence
// (netlink_overrun and netlink_rcv_wake in net/netlink/af_netlink.c). A resync
// given at once could thus miss changes; it is given when the queue is empty.
func (l *listener) next() (Batch, error) {
	for {
		n, from, err := l.receive(!l.lost)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			l.lost = true
			continue
		case errors.Is(err, unix.EAGAIN):
			l.lost = false
			return Batch{Resync: true}, nil
		case err != nil:
			return Batch{}, err
		case l.lost:
			continue // the resync covers it
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // not from the kernel
		}
		b := parse(l.buf[:n])
		if b.Resync || len(b.Changes) > 0 {
			return b, nil
		}
	}
}

// receive reads one datagram. Without wait it gives EAGAIN when there is none.
func (l *listener) receive(wait bool) (n int, from unix.Sockaddr, err error) {
	outer := l.raw.Read(func(fd uintptr) bool {
		for {
			var size int
			size, from, err = unix.Recvfrom(int(fd), l.buf, unix.MSG_TRUNC)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			n = min(size, len(l.buf))
			if err == nil && size > len(l.buf) {
				err = unix.ENOBUFS // cut off: as good as lost
			}
			return !wait || !errors.Is(err, unix.EAGAIN)
		}
	})
	if outer != nil {
		return 0, nil, outer
	}
	return n, from, err
}

// parse reads a datagram's messages. What can't be read is a Resync: a change
// has happened, and we can't tell of what.
func parse(datagram []byte) Batch {
	msgs, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil || len(msgs) == 0 { // none: shorter than a header
		return Batch{Resync: true}
	}
	var b Batch
	for _, m := range msgs {
		c, ok, err := change(m.Header.Type, m.Data)
		if err != nil {
			return Batch{Resync: true}
		}
		if ok {
			b.Changes = append(b.Changes, c)
		}
	}
	return b
}

var errShort = errors.New("message is too short")

// change reads one notification; ok is false for those of no concern.
func change(kind uint16, data []byte) (c Change, ok bool, err error) {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(data) < unix.SizeofIfInfomsg {
			return c, false, errShort
		}
		// A bridge tells of its ports' settings in its own family.
		index := int(int32(binary.NativeEndian.Uint32(data[4:])))
		return Change{Kind: Link, Ifindex: index}, data[0] != unix.AF_BRIDGE, nil
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return addressChange(data)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return routeChange(data)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		return neighbourChange(data)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE, unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		return Change{Kind: Policy}, true, nil
	}
	return c, false, nil
}

func addressChange(data []byte) (c Change, ok bool, err error) {
	if len(data) < unix.SizeofIfAddrmsg {
		return c, false, errShort
	}
	attrs, err := nl.ParseRouteAttrAsMap(data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return c, false, err
	}
	// IFA_ADDRESS is the other side of a point-to-point link.
	a, there := attrs[unix.IFA_LOCAL]
	if !there {
		a = attrs[unix.IFA_ADDRESS]
	}
	addr, ok := netip.AddrFromSlice(a.Value)
	if !ok {
		return c, false, errShort
	}
	index := int(binary.NativeEndian.Uint32(data[4:]))
	return Change{Kind: Address, Ifindex: index, Prefix: netip.PrefixFrom(addr, addr.BitLen())}, true, nil
}

func routeChange(data []byte) (c Change, ok bool, err error) {
	if len(data) < unix.SizeofRtMsg {
		return c, false, errShort
	}
	family, bits, flags := data[0], int(data[1]), binary.NativeEndian.Uint32(data[8:])
	if family != unix.AF_INET && family != unix.AF_INET6 || flags&unix.RTM_F_CLONED != 0 {
		return c, false, nil // MPLS and the like, or a cached copy of a route
	}
	attrs, err := nl.ParseRouteAttrAsMap(data[unix.SizeofRtMsg:])
	if err != nil {
		return c, false, err
	}
	dst := netip.IPv4Unspecified() // a default route has no RTA_DST
	if family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	if a, there := attrs[unix.RTA_DST]; there {
		if dst, ok = netip.AddrFromSlice(a.Value); !ok {
			return c, false, errShort
		}
	}
	prefix, err := dst.Prefix(bits)
	if err != nil {
		return c, false, err
	}
	return Change{Kind: Route, Prefix: prefix}, true, nil
}

func neighbourChange(data []byte) (c Change, ok bool, err error) {
	if len(data) < unix.SizeofNdMsg {
		return c, false, errShort
	}
	if data[0] != unix.AF_INET && data[0] != unix.AF_INET6 {
		return c, false, nil // a bridge's forwarding table
	}
	attrs, err := nl.ParseRouteAttrAsMap(data[unix.SizeofNdMsg:])
	if err != nil {
		return c, false, err
	}
	addr, ok := netip.AddrFromSlice(attrs[netlink.NDA_DST].Value)
	if !ok {
		return c, false, errShort
	}
	index := int(int32(binary.NativeEndian.Uint32(data[4:])))
	return Change{Kind: Neighbour, Ifindex: index, Prefix: netip.PrefixFrom(addr, addr.BitLen())}, true, nil
}

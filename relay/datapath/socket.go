// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"plumbline/logs"
)

// A socket is a UDP socket with its account.
type socket struct {
	conn     *net.UDPConn
	raw      syscall.RawConn
	local    netip.AddrPort
	listener bool
	wildcard bool

	mu      sync.Mutex
	account account
	final   uint64 // datagrams lost in the queue, once the socket is closed
	closed  atomic.Bool
}

// An account is the fate of what a socket, or several, received. It grows by
// whole packets only, so that each reading of it adds up.
type account struct {
	received   uint64
	by         [reasons]uint64
	unowned    [reasons]logs.Traffic // those of by that no allocation owns
	overflowed uint64
}

func (a *account) add(o account) {
	a.received += o.received
	a.overflowed += o.overflowed
	for r := range reasons {
		a.by[r] += o.by[r]
		a.unowned[r] = a.unowned[r].Add(o.unowned[r])
	}
}

// An outcome is what became of one received datagram.
type outcome struct {
	reason reason
	owned  bool // booked in an allocation's ledger
	bytes  int  // of UDP payload, only needed when not owned
}

func (s *socket) count(o outcome) {
	s.mu.Lock()
	s.account.received++
	s.account.by[o.reason]++
	if !o.owned {
		s.account.unowned[o.reason].Packets++
		s.account.unowned[o.reason].Bytes += uint64(o.bytes)
	}
	s.mu.Unlock()
}

func (s *socket) read() account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.account
	a.overflowed = s.final
	if !s.closed.Load() {
		a.overflowed = s.queueDrops()
	}
	return a
}

// close ends the socket's reader and returns when the address is free again.
// What stood in the queue is not received. Closing waits until the reader has
// finished the packet that it is at, so the caller must hold no lock.
func (s *socket) close() {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return
	}
	s.final = s.queueDrops()
	s.closed.Store(true)
	s.mu.Unlock()
	s.conn.Close()
}

// queueDrops is how many datagrams the kernel dropped at this socket.
func (s *socket) queueDrops() uint64 { return QueueDrops(s.raw) }

// source is the address to send from, or none where the socket has only one.
func (s *socket) source(server netip.AddrPort) netip.Addr {
	if s.wildcard {
		return server.Addr()
	}
	return netip.Addr{}
}

func listen(address netip.AddrPort, options Options) (*socket, error) {
	wildcard := address.Addr().IsUnspecified()
	s, err := open(address, options, func(fd int) error {
		switch {
		case !wildcard:
			return nil
		case address.Addr().Is4():
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, explain(err, address))
	}
	s.listener, s.wildcard = true, wildcard
	return s, nil
}

// relay opens the socket of a relayed transport address.
func relay(address netip.AddrPort, options Options) (*socket, error) {
	s, err := open(address, options, func(fd int) error {
		// The net package allows broadcast; a relay must not reach every host
		// of a network with one packet, even if a peer's address happens to be
		// a subnet's broadcast address.
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("bind relayed transport address %s: %w", address, explain(err, address))
	}
	return s, nil
}

func open(address netip.AddrPort, options Options, configure func(fd int) error) (*socket, error) {
	if !address.IsValid() || address.Addr().Is4In6() {
		return nil, errors.New("not an IPv4 or IPv6 address with a port")
	}
	network, level, discover, never := "udp4", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT
	if address.Addr().Is6() {
		network, level, discover, never = "udp6", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), level, discover, never)
			if err == nil && address.Addr().Is6() {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
			}
			if err == nil {
				err = configure(int(fd))
			}
		}); e != nil {
			return e
		}
		return err
	}}
	packets, err := config.ListenPacket(context.Background(), network, address.String())
	if err != nil {
		return nil, err
	}
	conn := packets.(*net.UDPConn)
	if options.ReadBuffer > 0 {
		err = SetReadBuffer(conn, options.ReadBuffer)
	}
	if err == nil && options.WriteBuffer > 0 {
		err = conn.SetWriteBuffer(options.WriteBuffer)
	}
	var raw syscall.RawConn
	if err == nil {
		raw, err = conn.SyscallConn()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if address.Addr().Is4() { // the net package hands out 16 bytes
		local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	}
	return &socket{conn: conn, raw: raw, local: local}, nil
}

// explain adds what to do to the errors of bind(2) that an operator meets.
func explain(err error, address netip.AddrPort) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		hint = fmt.Sprintf("another socket holds it, see: ss -ulpn sport = :%d", address.Port())
	case errors.Is(err, unix.EADDRNOTAVAIL):
		hint = "no interface of this host has the address, see: ip address"
	case errors.Is(err, unix.EACCES):
		hint = fmt.Sprintf("port %d needs CAP_NET_BIND_SERVICE, or take one from net.ipv4.ip_unprivileged_port_start up", address.Port())
	case errors.Is(err, unix.EAFNOSUPPORT):
		hint = "this host has the address family switched off"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		hint = "no file descriptor is left, raise LimitNOFILE (ulimit -n): each allocation takes one"
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno // the net package's text repeats the address
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, hint)
}

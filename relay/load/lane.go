// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"plumbline/relay/datapath"
	"plumbline/relay/probe"
)

// A lane is an allocation with its peer, and the streams between them.
type lane struct {
	allocation *probe.Allocation
	peer       *peer
	streams    [ways]*stream
}

// send sends the next packet of a way, which it makes in b. left is false when
// this host had no room for it.
func (l *lane) send(w way, b []byte, now func() time.Duration) (left bool, err error) {
	s := l.streams[w]
	s.issue(b, now)
	if w == toPeers {
		err = l.allocation.Send(b)
	} else {
		_, err = l.peer.conn.WriteToUDPAddrPort(b, l.allocation.Relayed())
	}
	if err == nil {
		return true, nil
	}
	s.withdraw()
	switch {
	case errors.Is(err, unix.ENOBUFS):
		return false, nil
	case errors.Is(err, unix.EMSGSIZE):
		return false, fmt.Errorf("sending %d bytes: %w; lower --size", len(b), err)
	}
	if cause := l.allocation.Cause(); cause != nil {
		return false, cause
	}
	return false, fmt.Errorf("sending to %s: %w", l.allocation.Server(), err)
}

// keepAlive refreshes the allocation, its channel and its permission until ctx
// ends or that fails.
func (l *lane) keepAlive(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := l.allocation.KeepAlive(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		case <-l.allocation.Done():
			return l.allocation.Cause()
		case <-ctx.Done():
			return nil
		}
	}
}

// refreshEvery is half of what ends first: the permission's five minutes
// (RFC 8656 §9), refreshed with the channel, or the allocation's lifetime.
func refreshEvery(lifetime time.Duration) time.Duration {
	const permission = 5 * time.Minute
	if lifetime <= 0 || lifetime > permission {
		lifetime = permission
	}
	return lifetime / 2
}

func (l *lane) close() {
	if l.allocation != nil {
		l.allocation.Close()
	}
	if l.peer != nil {
		l.peer.conn.Close()
	}
}

// A peer is a UDP socket that knows nothing of TURN.
type peer struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
}

// readBuffer is a peer's socket queue in bytes, where the kernel lets it.
const readBuffer = 4 << 20

func newPeer(address netip.Addr) (*peer, error) {
	address = address.WithZone("")
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
	if err != nil {
		return nil, fmt.Errorf("opening a peer's socket on %s: %w; --peer-address takes an address of this host, and each allocation takes two sockets (`ulimit -n`)", address, err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	_ = datapath.SetReadBuffer(conn, readBuffer) // a smaller queue serves too; what it drops is counted
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return &peer{conn, raw, netip.AddrPortFrom(local.Addr().Unmap(), local.Port())}, nil
}

// receive takes what comes to the peer until its socket closes.
func (p *peer) receive(s *stream, relayed netip.AddrPort, now func() time.Duration) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
			s.take(b[:n], from == relayed, now())
		}
	}
}

func (p *peer) dropped() uint64 { return datapath.QueueDrops(p.raw) }

// SPDX-License-Identifier: Apache-2.0

package nexthop

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// msgProbe is MSG_PROBE of include/linux/socket.h, which x/sys/unix leaves out.
const msgProbe = 0x10

// confirmer tells the kernel of progress with a neighbour.
type confirmer struct{ fd int }

func newConfirmer() (*confirmer, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket to confirm neighbours with: %w", err)
	}
	return &confirmer{fd}, nil
}

func (c *confirmer) Close() error { return unix.Close(c.fd) }

// Confirm tells the kernel that packets from local to remote do arrive, so that
// the neighbour that they go through stays REACHABLE. Nothing is sent.
//
// Call it a few times within the neighbour's reachable time (15 s at the least,
// with Linux's defaults) for flows on which packets went both ways meanwhile:
// traffic from the remote side alone does not prove that ours reaches it (RFC
// 4861 section 7.3.1). It keeps a neighbour from going stale; it does not help
// one that is stale already. An error is no harm beyond that.
func (r *Resolver) Confirm(local, remote netip.Addr) error {
	local, remote = local.Unmap(), remote.Unmap()
	if !local.Is4() || !remote.Is4() {
		return fmt.Errorf("confirming the way from %s to %s: %w", local, remote, ErrNotIPv4)
	}
	// A probe without payload does everything but send, and confirms on the way
	// (udp_sendmsg in net/ipv4/udp.c).
	source := unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	to := &unix.SockaddrInet4{Port: 9, Addr: remote.As4()}
	for {
		err := unix.Sendmsg(r.confirm.fd, nil, source, to, unix.MSG_CONFIRM|msgProbe)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("confirming the way from %s to %s: %w", local, remote, err)
		}
		return nil
	}
}

// SPDX-License-Identifier: Apache-2.0

package nexthop

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// usable are the states in which a neighbour's MAC is used.
const usable = unix.NUD_REACHABLE | unix.NUD_PERMANENT | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_STALE

// neighbour fills in the MAC of the hop's neighbour.
func (r *Resolver) neighbour(hop *NextHop) error {
	family := unix.AF_INET
	if hop.Neighbour.Is6() {
		family = unix.AF_INET6
	}
	// One entry, not a dump: tables of thousands are normal beside many clients
	// (neigh_get in net/core/neighbour.c, since Linux 5.0).
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, 0)
	req.Sockets = r.neighbours
	req.AddData(&netlink.Ndmsg{Family: uint8(family), Index: uint32(hop.Ifindex)})
	req.AddData(nl.NewRtAttr(netlink.NDA_DST, hop.Neighbour.AsSlice()))
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: there is no entry for %s on device %d", ErrUnresolved, hop.Neighbour, hop.Ifindex)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: device %d of its route has just gone", ErrUnreachable, hop.Ifindex)
	case err != nil:
		return fmt.Errorf("asking the kernel for neighbour %s on device %d: %w", hop.Neighbour, hop.Ifindex, err)
	case len(answers) != 1:
		return fmt.Errorf("asked the kernel for neighbour %s on device %d, got %d", hop.Neighbour, hop.Ifindex, len(answers))
	}
	n, err := netlink.NeighDeserialize(answers[0])
	if err != nil {
		return fmt.Errorf("reading neighbour %s on device %d: %w", hop.Neighbour, hop.Ifindex, err)
	}
	if got, ok := netip.AddrFromSlice(n.IP); !ok || got.Unmap() != hop.Neighbour || n.LinkIndex != hop.Ifindex {
		return fmt.Errorf("asked the kernel for neighbour %s on device %d, got %s on %d", hop.Neighbour, hop.Ifindex, n.IP, n.LinkIndex)
	}
	if n.State&usable == 0 {
		return fmt.Errorf("%w: %s on device %d is %s", ErrUnresolved, hop.Neighbour, hop.Ifindex, stateName(n.State))
	}
	if len(n.HardwareAddr) != len(hop.DstMAC) {
		return fmt.Errorf("%w: neighbour %s has an address of %d bytes", ErrNotEthernet, hop.Neighbour, len(n.HardwareAddr))
	}
	copy(hop.DstMAC[:], n.HardwareAddr)
	hop.Stale = n.State&unix.NUD_STALE != 0
	return nil
}

// stateName is the state as ip-neighbour(8) writes it.
func stateName(state int) string {
	switch {
	case state == unix.NUD_NONE:
		return "NONE"
	case state&unix.NUD_INCOMPLETE != 0:
		return "INCOMPLETE"
	case state&unix.NUD_FAILED != 0:
		return "FAILED"
	case state&unix.NUD_NOARP != 0:
		return "NOARP"
	}
	return fmt.Sprintf("in state %#x", state)
}

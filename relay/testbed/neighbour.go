// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// resolvedStates are those in which a neighbour's MAC can be used (NUD_VALID
// without NUD_NOARP, include/net/neighbour.h).
const resolvedStates = unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE | unix.NUD_PERMANENT

// discardPort is UDP port 9, where RFC 863 expects what nobody reads.
const discardPort = 9

// Resolve makes the host's kernel resolve the on-link neighbour addr, by sending
// it an empty datagram, and returns its MAC. It waits for the kernel's own
// notification, as long as ctx allows.
func (h *Host) Resolve(ctx context.Context, addr netip.Addr) (net.HardwareAddr, error) {
	done := make(chan struct{})
	defer close(done)
	updates := make(chan netlink.NeighUpdate, 64)
	lost := make(chan error, 1)
	err := netlink.NeighSubscribeWithOptions(updates, done, netlink.NeighSubscribeOptions{
		Namespace: &h.ns,
		ErrorCallback: func(err error) {
			select {
			case lost <- err:
			default:
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: watching neighbours: %w", h.Name, err)
	}
	defer func() { go drain(updates) }()

	conn, err := h.ListenUDP(netip.AddrPort{})
	if err != nil {
		return nil, fmt.Errorf("opening a socket to resolve %s with: %w", addr, err)
	}
	defer func() { _ = conn.Close() }()
	send := func() error {
		_, err := conn.WriteToUDPAddrPort(nil, netip.AddrPortFrom(addr, discardPort))
		return err
	}
	// The subscription comes first, so that no answer falls between.
	if mac, ok, err := h.neighbour(addr); err != nil || ok {
		return mac, err
	}
	if err := send(); err != nil {
		return nil, fmt.Errorf("host %s: sending to %s: %w", h.Name, addr, err)
	}
	for {
		select {
		case u, ok := <-updates:
			if !ok {
				return nil, fmt.Errorf("host %s: the watch of its neighbours ended: %w", h.Name, lastError(lost))
			}
			if got, _ := netip.AddrFromSlice(u.IP); got.Unmap() != addr || u.Type != unix.RTM_NEWNEIGH {
				continue
			}
			switch {
			case u.State&resolvedStates != 0 && len(u.HardwareAddr) == 6:
				return u.HardwareAddr, nil
			case u.State&unix.NUD_FAILED != 0:
				// The other side may only just be coming up: ask again.
				if err := send(); err != nil {
					return nil, fmt.Errorf("host %s: sending to %s: %w", h.Name, addr, err)
				}
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("host %s: resolving %s: %w", h.Name, addr, ctx.Err())
		}
	}
}

// neighbour looks an address up in the host's neighbour table.
func (h *Host) neighbour(addr netip.Addr) (net.HardwareAddr, bool, error) {
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	list, err := h.nl.NeighList(0, family)
	if err != nil {
		return nil, false, fmt.Errorf("host %s: listing neighbours: %w", h.Name, err)
	}
	for _, n := range list {
		if got, _ := netip.AddrFromSlice(n.IP); got.Unmap() == addr && n.State&resolvedStates != 0 && len(n.HardwareAddr) == 6 {
			return n.HardwareAddr, true, nil
		}
	}
	return nil, false, nil
}

// Warm resolves every host's neighbours on its networks, IPv4 and IPv6, so that
// no later packet waits for, or is lost to, address resolution.
func (b *Bed) Warm(ctx context.Context) error {
	for _, h := range b.hosts {
		for _, other := range b.hosts {
			if other == h {
				continue
			}
			if err := h.warmTo(ctx, other); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *Host) warmTo(ctx context.Context, other *Host) error {
	for _, mine := range h.Interfaces {
		for _, theirs := range other.Interfaces {
			if mine.Network != theirs.Network {
				continue
			}
			for _, addr := range []netip.Addr{theirs.IPv4, theirs.IPv6} {
				if !addr.IsValid() {
					continue
				}
				if _, err := h.Resolve(ctx, addr); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func lastError(ch <-chan error) error {
	select {
	case err := <-ch:
		return err
	default:
		return errors.New("no reason given")
	}
}

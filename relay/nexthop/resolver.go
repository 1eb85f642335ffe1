// SPDX-License-Identifier: Apache-2.0

package nexthop

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// answerTimeout bounds one question to the kernel, which answers at once or not
// at all.
const answerTimeout = 2 * time.Second

var (
	// ErrUnresolved: there is a route, but the neighbour's MAC is not known, or
	// no longer. Sending to it through a socket makes the kernel find it.
	ErrUnresolved = errors.New("the neighbour's MAC address is not known yet")
	// ErrLocal: the destination is an address of this host.
	ErrLocal = errors.New("the destination is this host")
	// ErrUnreachable: no route, a route that rejects, a destination that is not
	// unicast, a source that is not an address of this host, or a device that is
	// down.
	ErrUnreachable = errors.New("the destination is unreachable")
	// ErrNotEthernet: the route's packets do not get a plain Ethernet header: a
	// tunnel, an encapsulating route, or a device without address resolution.
	ErrNotEthernet = errors.New("the way out is not plain Ethernet")
	// ErrNotIPv4: an address is not IPv4, which is all that the router relays.
	ErrNotIPv4 = errors.New("not an IPv4 address")
)

// MAC is an Ethernet address as it is on the wire.
type MAC = [6]byte

// NextHop is the way out of this host for a flow.
type NextHop struct {
	Ifindex int // of the device, never 0
	SrcMAC  MAC // the device's own
	DstMAC  MAC // the neighbour's
	// MTU is the largest IP packet, in bytes: the device's, or less if the route
	// or what path MTU discovery found says so. The kernel sends no notification
	// when path MTU discovery lowers it.
	MTU int
	// Neighbour is who DstMAC belongs to: the gateway, or the destination.
	Neighbour netip.Addr
	// Stale: the neighbour may have gone or changed; see the package comment.
	Stale bool
}

// Resolver asks the kernel for next hops. It stays in the network namespace in
// which it was made. Its methods may be called from several goroutines.
type Resolver struct {
	routes     *netlink.Handle
	neighbours map[int]*nl.SocketHandle
	confirm    *confirmer
}

// NewResolver opens rtnetlink in the calling thread's network namespace.
func NewResolver() (*Resolver, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	if err := h.SetSocketTimeout(answerTimeout); err != nil {
		h.Close()
		return nil, fmt.Errorf("setting rtnetlink's timeout: %w", err)
	}
	// The netlink package only lists neighbours; asking for one takes a socket
	// of our own.
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("opening rtnetlink: %w", err)
	}
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	_ = s.SetReceiveTimeout(&timeout) // never fails: both only keep the value
	_ = s.SetSendTimeout(&timeout)
	c, err := newConfirmer()
	if err != nil {
		h.Close()
		s.Close()
		return nil, err
	}
	return &Resolver{
		routes:     h,
		neighbours: map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}},
		confirm:    c,
	}, nil
}

// Close closes the sockets.
func (r *Resolver) Close() error {
	r.routes.Close()
	r.neighbours[unix.NETLINK_ROUTE].Close()
	return r.confirm.Close()
}

// Resolve finds the way from a local address (or 0.0.0.0: whichever the kernel
// would take) to a remote one. The error is one of this package's, as errors.Is
// sees it, or a failure to ask. With [ErrUnresolved] all of the next hop but
// DstMAC is set, so that a change can be told to concern it.
//
// The route is looked up with addresses alone. With several equal routes and a
// hash over ports the kernel may take another of them for its own packets; each
// is a valid way. Rules by user, mark or port, and IPsec policies, are not seen.
func (r *Resolver) Resolve(local, remote netip.Addr) (NextHop, error) {
	local, remote = local.Unmap(), remote.Unmap()
	hop, err := r.resolve(local, remote)
	if err != nil {
		return hop, fmt.Errorf("next hop from %s to %s: %w", local, remote, err)
	}
	return hop, nil
}

func (r *Resolver) resolve(local, remote netip.Addr) (NextHop, error) {
	if !local.Is4() || !remote.Is4() {
		return NextHop{}, ErrNotIPv4
	}
	if remote.IsUnspecified() {
		return NextHop{}, fmt.Errorf("%w: no such host", ErrUnreachable)
	}
	route, err := r.route(local, remote)
	if err != nil {
		return NextHop{}, err
	}
	hop := NextHop{Ifindex: route.LinkIndex, Neighbour: remote}
	if gw, ok, err := gateway(route); err != nil {
		return NextHop{}, err
	} else if ok {
		hop.Neighbour = gw
	}
	if err := r.device(&hop, route.MTU); err != nil {
		return NextHop{}, err
	}
	return hop, r.neighbour(&hop)
}

// route asks which route a packet would take, as "ip route get" does.
func (r *Resolver) route(local, remote netip.Addr) (netlink.Route, error) {
	var opt netlink.RouteGetOptions
	if !local.IsUnspecified() {
		opt.SrcAddr = local.AsSlice()
	}
	found, err := r.routes.RouteGetWithOptions(remote.AsSlice(), &opt)
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES):
		// No route, or one of type unreachable or prohibit.
		return netlink.Route{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.Is(err, unix.EINVAL):
		// ip_route_output_key_hash_rcu in net/ipv4/route.c.
		return netlink.Route{}, fmt.Errorf("%w: %s is not an address of this host, or the route is a blackhole", ErrUnreachable, local)
	case err != nil:
		return netlink.Route{}, fmt.Errorf("asking the kernel for the route: %w", err)
	case len(found) != 1:
		return netlink.Route{}, fmt.Errorf("asked the kernel for one route, got %d", len(found))
	}
	route := found[0]
	switch route.Type {
	case unix.RTN_UNICAST:
	case unix.RTN_LOCAL:
		return netlink.Route{}, ErrLocal
	default: // broadcast, multicast, blackhole, …
		return netlink.Route{}, fmt.Errorf("%w: its route is not unicast (rtm_type %d, include/uapi/linux/rtnetlink.h)", ErrUnreachable, route.Type)
	}
	if route.Encap != nil {
		return netlink.Route{}, fmt.Errorf("%w: the route encapsulates (%s)", ErrNotEthernet, route.Encap)
	}
	return route, nil
}

// gateway is who the route's packets are handed to, if not to their destination.
// It may be an IPv6 one (RFC 8950 style next hops).
func gateway(route netlink.Route) (netip.Addr, bool, error) {
	var ip net.IP
	switch via := route.Via.(type) {
	case nil:
		ip = route.Gw
	case *netlink.Via:
		ip = via.Addr
	default:
		return netip.Addr{}, false, fmt.Errorf("%w: the route goes via %s", ErrNotEthernet, route.Via)
	}
	if len(ip) == 0 {
		return netip.Addr{}, false, nil
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Addr{}, false, fmt.Errorf("the kernel gave a gateway of %d bytes", len(ip))
	}
	return addr.Unmap(), true, nil
}

// device fills in what the hop takes from its device.
func (r *Resolver) device(hop *NextHop, routeMTU int) error {
	l, err := r.routes.LinkByIndex(hop.Ifindex)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return fmt.Errorf("%w: device %d of its route has just gone", ErrUnreachable, hop.Ifindex)
	}
	if err != nil {
		return fmt.Errorf("asking the kernel for device %d: %w", hop.Ifindex, err)
	}
	a := l.Attrs()
	switch {
	case a.Flags&net.FlagLoopback != 0:
		return fmt.Errorf("%w: its route goes to %s", ErrLocal, a.Name)
	case a.EncapType != "ether" || len(a.HardwareAddr) != len(hop.SrcMAC):
		return fmt.Errorf("%w: %s is of link type %q", ErrNotEthernet, a.Name, a.EncapType)
	case a.RawFlags&unix.IFF_NOARP != 0:
		return fmt.Errorf("%w: %s does no address resolution (NOARP)", ErrNotEthernet, a.Name)
	case a.Flags&net.FlagUp == 0:
		return fmt.Errorf("%w: %s is down", ErrUnreachable, a.Name)
	}
	copy(hop.SrcMAC[:], a.HardwareAddr)
	hop.MTU = a.MTU
	if routeMTU > 0 && routeMTU < hop.MTU {
		hop.MTU = routeMTU
	}
	return nil
}

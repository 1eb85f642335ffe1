// SPDX-License-Identifier: Apache-2.0

// Package nexthop finds where a packet of a flow leaves this host: the device,
// and the two MAC addresses of its Ethernet header. The XDP router needs them in
// each route, as it writes the header itself.
//
// The kernel is asked for all of it, over rtnetlink: the route from the local
// address to the remote one, the device of that route, and the neighbour entry
// of the gateway, or of the remote host itself where it is on the link. Nothing
// here needs a privilege, and nothing sends a packet: an unresolved neighbour is
// resolved by the kernel as soon as user space sends the flow's next packet, and
// [Changes] tells when that has happened.
//
// # Neighbour states
//
// A neighbour is used in every state in which the kernel itself would transmit
// to its MAC at once: REACHABLE, PERMANENT, DELAY, PROBE and STALE (NUD_VALID in
// include/net/neighbour.h, but for NOARP devices).
//
// STALE means that nothing has confirmed the neighbour for a while (15 to 45 s
// with Linux's defaults). The kernel revalidates such an entry when its own
// stack sends to it, and a router beneath the stack never does. It is still
// used, because its MAC is by far most often right, and [NextHop.Stale] says so.
// Two ways keep it fresh:
//
//   - [Resolver.Confirm], while traffic flows both ways, tells the kernel of that
//     progress, as TCP does for its connections (RFC 4861 section 7.3.1). The
//     entry then does not go stale.
//   - A packet of the flow that goes through a socket makes a STALE entry DELAY,
//     and the kernel asks for the MAC again if nothing confirms it within 5 s. If
//     no answer comes the entry becomes FAILED, [Changes] tells, and Resolve gives
//     [ErrUnresolved].
package nexthop

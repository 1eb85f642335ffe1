// SPDX-License-Identifier: Apache-2.0

// Package testbed builds small networks out of Linux network namespaces, for
// end-to-end tests and for demonstrations on one machine.
//
// A [Bed] is a set of hosts, each in a named namespace of its own, joined by
// bridges that live in one more namespace, the switch:
//
//	client ─eth0──┐
//	relay  ─eth0──┤ bridge in the switch's namespace
//	peer   ─eth0──┘
//
// The names are those that ip-netns(8) and nsenter(1) understand
// (nsenter --net=/run/netns/plumb-PID-N-relay), and nothing but the network
// differs in there: mounts are kept, so that /sys/fs/bpf is the same place for
// a command run in a bed, for the test and for the person watching.
//
// What a bed does to its devices is what an XDP router needs to see honest
// traffic over veth: senders compute their UDP checksums (an offloaded sender
// hands XDP a partial sum), frames are not merged into super-frames, and the
// switch's ends can be given the XDP program without which a veth pair swallows
// every frame sent natively with XDP_TX.
//
// A bed sends no packet outside its own namespaces. It needs root; see [Require].
package testbed

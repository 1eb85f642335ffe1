// SPDX-License-Identifier: Apache-2.0

// Command bench measures the relay against others on one machine.
//
// Everything runs in the network namespaces of a test bed: each contestant in
// one of its own, on one bridge, with one load generator, one peer and the same
// flows for all. They all run all the time and take turns, in an order that
// moves from round to round; what is printed are medians, and ratios of what
// was measured in the same round, so that a machine that slows down slows both
// sides of a ratio.
//
//	direct    client to peer, without a relay: what load and wire cost
//	floor     an XDP program with the flows as constants (xdp.c)
//	kernel    the relay with its router attached natively
//	userspace the relay with offload disabled
//	coturn    turnserver with its defaults
//	pion      the server of pion/turn v3, a socket a CPU
//
// It also prints what one packet costs in the router alone, and how fast
// analyze prints a timeline compared with jq. It needs root, turnserver and jq,
// and removes everything that it makes.
package main

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types xdp xdp.c -- -O2 -mcpu=v3 -Wall -Wextra -Werror -fno-strict-aliasing -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu

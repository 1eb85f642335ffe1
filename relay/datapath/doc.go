// SPDX-License-Identifier: Apache-2.0

// Package datapath is the relay's user-space data path: it moves datagrams
// between clients and peers (RFC 8656 §11 and §12) with UDP sockets, and is
// what carries a packet that the kernel's router passed up.
//
// The sans-IO core decides control; this package never asks it about data. It
// holds the last published [turn.View] of every allocation, reads it without a
// lock that writers of other allocations could hold, and enforces every expiry
// in it by itself. Only STUN control messages go up, through Options.Control.
//
// Every datagram that a socket yields meets exactly one verdict with one
// reason: relayed, passed to the core, or dropped. It is counted twice, in one
// socket's counters (Counters) and in one flow's (Flows), and both sums agree.
//
//   - Each listen socket has a reader. Each relayed transport address has a
//     socket and a goroutine that waits for readability without a buffer:
//     an idle allocation costs a goroutine's stack and a socket.
//   - Nothing is allocated per data packet, nothing is logged per packet, and
//     no error of a single datagram ends a socket.
//   - Accounts are bounded per allocation; what goes beyond is summed up in an
//     entry without a peer, so that totals stay exact.
//   - DF is not set on what is sent (RFC 8656 §15.2's alternate behaviour), so
//     that a forged ICMP "fragmentation needed" cannot shrink the path.
package datapath

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/* What is known of the frame in hand, and how its words are read. */
#ifndef PLUMBLINE_PACKET_H
#define PLUMBLINE_PACKET_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/types.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"

/* ChannelData header (RFC 8656 §12.4). */
struct channel_header {
	__be16 number;
	__be16 length;
};

enum direction { TO_PEER, TO_CLIENT };

struct packet {
	struct route_key key;
	__u64 now;
	__u32 generation;
	__u32 flags;  /* of the config */
	__u32 flow;   /* number, or NO_FLOW */
	__u32 action; /* enum xdp_action */
	__u32 first;  /* of its flow under this generation */
	__u32 direction;
	__u32 trailing; /* bytes after the IP packet: padding of short frames */
	__u32 reserved; /* what follows starts at a multiple of 8 */
	/* The headers, which the new ones are made from and written over. */
	struct udphdr udp;
	struct iphdr ip;
	struct channel_header channel; /* zeros if there was none */
};

/* The counter of the packet's direction, where OUTCOMES says BOTH. */
#define DIRECTED(verdict, reason) (COUNTER_##verdict##_to_peer_##reason + packet->direction)

/* Network words, left in network order. All of them lie aligned in their maps.
 */
static __always_inline __u16 load16(const __u8 *bytes)
{
	return *(const __u16 *)bytes;
}

static __always_inline __u32 load32(const __u8 *bytes)
{
	return *(const __u32 *)bytes;
}

/*
 * 1 if a value below 2^31 is zero, else 0. Computed, since of a comparison the
 * verifier would walk all that follows twice.
 */
static __always_inline __u32 is_zero(__u32 value)
{
	value = (value - 1) >> 31;
	barrier_var(value); /* or the compiler makes a comparison of it again */
	return value;
}

/* Copies 8 bytes that the compiler would copy by two. */
static __always_inline void copy64(void *to, const void *from)
{
	*(__u64 *)to = *(const __u64 *)from;
}

static __always_inline int same_key(const struct route_key *a, const struct route_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]));
}

/* ::ffff:a.b.c.d */
static __always_inline int is_ipv4(const __u8 address[16])
{
	return !*(const __u64 *)address && load32(address + 8) == bpf_htonl(0xffff);
}

/* Addresses that no unicast packet comes from: 0/8, 127/8, 224/3. */
static __always_inline __u32 is_martian(__be32 address)
{
	__u32 net = bpf_ntohl(address) >> 24;

	return is_zero(net) | is_zero(net ^ 127) | ((223 - net) >> 31);
}

/*
 * Compares four ports at a time, without a branch for each, which the verifier
 * would walk one by one: a 16-bit lane that is zero borrows from its top bit.
 */
static __always_inline int is_listen_port(const struct config_slot *config, __be16 port)
{
	const __u64 ones = 0x0001000100010001, tops = ones << 15;
	const __u64 *four = (const __u64 *)config->listen_ports;
	__u64 a = four[0] ^ port * ones, b = four[1] ^ port * ones;

	return (((a - ones) & ~a) | ((b - ones) & ~b)) & tops ? 1 : 0;
}

static __always_inline int in_port_range(const struct config_slot *config, __be16 port)
{
	__u16 number = bpf_ntohs(port);

	return number >= bpf_ntohs(load16(config->lowest_port)) &&
	       number <= bpf_ntohs(load16(config->highest_port));
}

#endif

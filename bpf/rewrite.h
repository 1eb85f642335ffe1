// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/* The new headers, made from the old ones and the flow. */
#ifndef PLUMBLINE_REWRITE_H
#define PLUMBLINE_REWRITE_H

#include "checksum.h"
#include "packet.h"

/* From a peer, packets grow by the ChannelData header; to it, they shrink. */
static __always_inline int growth_of(__u32 from_peer)
{
	return ((int)from_peer * 2 - 1) * (int)sizeof(struct channel_header);
}

static __always_inline void write_ethernet(struct ethhdr *eth, const struct flow *flow)
{
	/* Both addresses, which stand in this order in both places. */
	const __u32 *from = (const __u32 *)flow->dst_mac;
	__u32 *to = (__u32 *)eth->h_dest;

	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	eth->h_proto = bpf_htons(ETH_P_IP);
}

static __always_inline void write_ip(struct iphdr *ip, const struct iphdr *old,
				     const struct flow *flow, int growth)
{
	__be32 source = load32(flow->source + 12);
	__be32 destination = load32(flow->destination + 12);
	__be16 total = bpf_htons(bpf_ntohs(old->tot_len) + growth);
	__u8 ttl = old->ttl - 1;
	__u64 sum = (__u16)~old->check;

	sum = less32(sum, old->saddr) + source;
	sum = less32(sum, old->daddr) + destination;
	sum = less16(sum, old->tot_len) + total;
	sum = less16(sum, bpf_htons(old->ttl << 8)) + bpf_htons(ttl << 8);

	*ip = *old; /* type of service, identification, fragment bits stay */
	ip->tot_len = total;
	ip->ttl = ttl;
	ip->saddr = source;
	ip->daddr = destination;
	ip->check = fold(sum);
}

static __always_inline void write_udp(struct udphdr *udp, const struct packet *packet,
				      const struct flow *flow, struct channel_header channel,
				      int growth)
{
	const struct udphdr *old = &packet->udp;
	__be16 length = bpf_htons(bpf_ntohs(old->len) + growth);
	__u64 sum = (__u16)~old->check;
	__u32 check;

	/* Of the pseudo-header the addresses and the length, then the header
	 * itself, with the length once more, and the ChannelData header. */
	sum = less32(sum, packet->ip.saddr) + load32(flow->source + 12);
	sum = less32(sum, packet->ip.daddr) + load32(flow->destination + 12);
	sum = less16(sum, old->len) + length;
	sum = less16(sum, old->source) + load16(flow->source_port);
	sum = less16(sum, old->dest) + load16(flow->destination_port);
	sum = less16(sum, old->len) + length;
	sum = less16(sum, packet->channel.number) + channel.number;
	sum = less16(sum, packet->channel.length) + channel.length;
	check = fold(sum);
	/* 0 would say that there is no checksum, so 0xffff stands for it (RFC
	 * 768). And where there was none, or shall be none, it is 0. */
	check |= -is_zero(check);
	check *= (packet->flags / FLAG_UDP_CHECKSUM) & ~is_zero(old->check) & 1;

	udp->source = load16(flow->source_port);
	udp->dest = load16(flow->destination_port);
	udp->len = length;
	udp->check = check;
}

#endif

//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/*
 * The benchmark's XDP programs: the floor, and the peer and the clients where
 * they need no process (endpoint).
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FLOW_BITS bpf_htons(8 - 1) /* of eight flows */

struct channel {
	__be16 number;
	__be16 length;
};

/* A host on the network; the Go type is floorHost. */
struct host {
	__be32 address;
	__u8 mac[6];
	__be16 port; /* the lowest of eight, or the only one */
};

struct headers {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
} __attribute__((packed));

/* Read-only data, set before loading. */
const volatile struct host client, peer, relay;
const volatile __be16 relayed_port, channel_number;

/* Data that is changed while the programs run. */
volatile __u64 endpoint_trial; /* the stamp to count; 0: send back */
volatile __u64 endpoint_framed;
volatile __u64 endpoint_counted;

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline void copy_mac(__u8 *to, const volatile __u8 *from)
{
	int i;

	for (i = 0; i < 6; i++)
		to[i] = from[i];
}

static __always_inline int is_udp(const struct headers *h)
{
	return h->eth.h_proto == bpf_htons(ETH_P_IP) && *(__u8 *)&h->ip == 0x45 &&
	       h->ip.protocol == IPPROTO_UDP;
}

/* Changes the addresses and lengths of the copied headers h. */
static __always_inline void rewrite(struct headers *h, const volatile struct host *to, __be16 sport,
				    __be16 dport, struct channel channel, int growth)
{
	__be16 total = bpf_htons(bpf_ntohs(h->ip.tot_len) + growth);
	__be16 length = bpf_htons(bpf_ntohs(h->udp.len) + growth);
	__u64 addresses, sum;
	__u16 check;

	/* The relay's own address is on both sides and cancels out. */
	addresses = (__u64)(__u32)~h->ip.saddr + to->address;
	h->ip.check = fold(addresses + (__u16)~h->ip.check + (__u16)~h->ip.tot_len + total);
	sum = addresses + (__u16)~h->udp.check + 2 * ((__u64)(__u16)~h->udp.len + length);
	sum += (__u16)~h->udp.source + (__u64)sport + (__u16)~h->udp.dest + (__u64)dport;
	/* ChannelData header: leaves towards the peer, comes towards the client. */
	if (growth < 0)
		sum += (__u64)(__u16)~channel.number + (__u16)~channel.length;
	else
		sum += (__u64)channel.number + channel.length;
	check = fold(sum);
	h->udp.check = check ? check : 0xffff;
	h->udp.len = length;
	h->udp.source = sport;
	h->udp.dest = dport;
	h->ip.tot_len = total;
	h->ip.saddr = relay.address;
	h->ip.daddr = to->address;
	copy_mac(h->eth.h_dest, to->mac);
	copy_mac(h->eth.h_source, relay.mac);
}

/*
 * The floor: the least that an XDP program must do to relay ChannelData to UDP
 * and back. Its eight flows are constants, so it looks nothing up, counts
 * nothing, checks no expiry and knows no configuration. What a relay in XDP
 * costs above this is the price of being a relay.
 *
 * Client ports, relayed ports and their flow number share the low three bits.
 */
SEC("xdp")
int floor_relay(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct headers *old = (void *)(long)ctx->data;
	struct headers h;
	struct channel *channel = (void *)(old + 1);
	struct channel c;

	if ((void *)(channel + 1) > end || !is_udp(old))
		return XDP_PASS;
	h = *old;
	if (h.udp.dest == relay.port) {
		c = *channel;
		if (c.number != channel_number)
			return XDP_PASS;
		rewrite(&h, &peer, relayed_port | (h.udp.source & FLOW_BITS), peer.port, c,
			-(int)sizeof(c));
		if (bpf_xdp_adjust_head(ctx, sizeof(c)))
			return XDP_ABORTED;
		old = (void *)(long)ctx->data;
		if ((void *)(old + 1) > (void *)(long)ctx->data_end)
			return XDP_ABORTED;
		*old = h;
		return XDP_TX;
	}
	if ((h.udp.dest & ~FLOW_BITS) != relayed_port)
		return XDP_PASS;
	c.number = channel_number;
	c.length = bpf_htons(bpf_ntohs(h.udp.len) - sizeof(struct udphdr));
	rewrite(&h, &client, relay.port, client.port | (h.udp.dest & FLOW_BITS), c, sizeof(c));
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(c)))
		return XDP_ABORTED;
	old = (void *)(long)ctx->data;
	channel = (void *)(old + 1);
	if ((void *)(channel + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	*old = h;
	*channel = c;
	return XDP_TX;
}

/*
 * A host without a process. It counts and drops UDP datagrams that carry the
 * stamp of a trial, or, without a trial, sends datagrams to the peer's port back
 * as they came. The checksums stay right, as a sum does not care for the order
 * of addresses.
 */
SEC("xdp")
int endpoint(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct headers *h = (void *)(long)ctx->data;
	void *stamp = h + 1;
	__u8 mac[6];
	__be32 address;
	__be16 port;

	if ((void *)(h + 1) > end || !is_udp(h))
		return XDP_PASS;
	if (endpoint_trial) {
		if (endpoint_framed)
			stamp += sizeof(struct channel);
		if (stamp + 16 > end || *(__u64 *)(stamp + 8) != endpoint_trial)
			return XDP_PASS;
		__sync_fetch_and_add(&endpoint_counted, 1);
		return XDP_DROP;
	}
	if (h->udp.dest != peer.port)
		return XDP_PASS;
	copy_mac(mac, h->eth.h_source);
	copy_mac(h->eth.h_source, h->eth.h_dest);
	copy_mac(h->eth.h_dest, mac);
	address = h->ip.saddr;
	h->ip.saddr = h->ip.daddr;
	h->ip.daddr = address;
	port = h->udp.source;
	h->udp.source = h->udp.dest;
	h->udp.dest = port;
	return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";

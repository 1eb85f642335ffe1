//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/*
 * The router: carries UDP between a TURN client's channel and its peer without
 * leaving the driver (RFC 8656 §12). IPv4 on both sides.
 *
 * Two rules make it safe to have in front of a host's stack:
 *
 * - What it is not sure of goes up untouched. Whatever can fail comes before
 *   the first write; after that a frame is sent, or dropped and counted.
 * - One counter per way out. router() counts exactly once for each frame.
 *
 * No packet pointers are subtracted and none moves by a variable: the verifier
 * then asks for CAP_BPF and CAP_NET_ADMIN only, not for CAP_PERFMON.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "checksum.h"
#include "maps.h"

#define IP_OFFSET_AND_MORE_FRAGMENTS 0x3fff

/*
 * What one 4 KiB page holds beside 256 bytes of headroom and the kernel's
 * skb_shared_info. A longer frame may lie in several buffers, which not every
 * device can send: it goes up.
 */
#define LINEAR_FRAME 3520

/* ChannelData header (RFC 8656 §12.4). */
struct channel_header {
	__be16 number;
	__be16 length;
};

/* What is known of the frame in hand. */
struct packet {
	struct route_key key;
	__u64 now;
	__u32 generation;
	__u32 number; /* of the flow */
	__u32 action; /* enum xdp_action */
	__u32 first;  /* of its flow under this generation */
};

enum direction { TO_PEER, TO_CLIENT };

/* The counter of one direction, where OUTCOMES says BOTH. */
#define DIRECTED(verdict, reason) \
	(COUNTER_##verdict##_to_peer_##reason + direction)

static __always_inline __u16 load16(const __u8 *bytes)
{
	__u16 word;

	__builtin_memcpy(&word, bytes, sizeof(word));
	return word;
}

static __always_inline __u32 load32(const __u8 *bytes)
{
	__u32 word;

	__builtin_memcpy(&word, bytes, sizeof(word));
	return word;
}

static __always_inline int same_key(const struct route_key *a,
				    const struct route_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) |
		 (x[4] ^ y[4]));
}

/* The middle of ::ffff:a.b.c.d; the ten zero bytes before it are user space's.
 */
static __always_inline int is_ipv4(const __u8 address[16])
{
	return load32(address + 8) == bpf_htonl(0xffff);
}

/* Addresses that no unicast packet comes from or goes to: 0/8, 127/8, 224/3. */
static __always_inline int is_martian(__be32 address)
{
	__u32 net = bpf_ntohl(address) >> 24;

	return net == 0 || net == 127 || net >= 224;
}

static __always_inline int is_listen_port(const struct config_slot *config,
					  __be16 port)
{
	int found = 0;

#pragma clang loop unroll(full)
	for (int i = 0; i < LISTEN_PORTS; i++)
		found |= load16(config->listen_ports[i]) == port;
	return found;
}

static __always_inline int in_port_range(const struct config_slot *config,
					 __be16 port)
{
	__u16 number = bpf_ntohs(port);

	return number >= bpf_ntohs(load16(config->lowest_port)) &&
	       number <= bpf_ntohs(load16(config->highest_port));
}

/* The one config read. NULL: the reason is in *outcome. */
static __always_inline const struct config_slot *
read_config(struct packet *packet, enum counter *outcome)
{
	const struct config_active *active;
	const struct config_slot *config;
	struct observed *seen;
	__u32 zero = 0, slot;

	*outcome = COUNTER_pass_none_config_unset;
	active = bpf_map_lookup_elem(&config_active, &zero);
	if (!active)
		return NULL;
	slot = *(volatile const __u32 *)&active->slot; /* read once */
	config = bpf_map_lookup_elem(&config_slots, &slot);
	if (!config) /* a slot that there is not */
		return NULL;
	if (config->magic != SLOT_MAGIC || config->abi != ROUTER_ABI ||
	    !config->generation)
		return NULL;

	packet->now = bpf_ktime_get_coarse_ns();
	if (packet->now >= active->lease_until) {
		*outcome = COUNTER_pass_none_lease_expired;
		return NULL;
	}

	packet->generation = config->generation;
	seen = bpf_map_lookup_elem(&observed, &slot);
	if (!seen)
		return NULL;
	if (seen->generation != config->generation) {
		/* Readers go upwards: a new generation never meets an old sum.
		 */
		*(volatile __u64 *)&seen->packets = 0;
		*(volatile __u32 *)&seen->generation = config->generation;
	}
	seen->packets++;

	if (!(config->flags & FLAG_ENABLED)) {
		*outcome = COUNTER_pass_none_disabled;
		return NULL;
	}
	return config;
}

/* The old headers' fields that the new ones are made from. */
struct old_headers {
	struct iphdr ip;
	struct udphdr udp;
	struct channel_header channel;
};

static __always_inline void write_ethernet(struct ethhdr *eth,
					   const struct flow *flow)
{
	__builtin_memcpy(eth->h_dest, flow->dst_mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, flow->src_mac, ETH_ALEN);
	eth->h_proto = bpf_htons(ETH_P_IP);
}

static __always_inline void write_ip(struct iphdr *ip, const struct iphdr *old,
				     const struct flow *flow, __u16 length)
{
	__be32 source = load32(flow->source + 12);
	__be32 destination = load32(flow->destination + 12);
	__be16 total = bpf_htons(length);
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

/*
 * What the new UDP header's checksum has besides the ChannelData header: the
 * addresses and the length of the pseudo-header, the ports, and the length
 * again.
 */
static __always_inline __u64 udp_sum(const struct old_headers *old,
				     const struct flow *flow, __be16 length)
{
	__u64 sum = (__u16)~old->udp.check;

	sum = less32(sum, old->ip.saddr) + load32(flow->source + 12);
	sum = less32(sum, old->ip.daddr) + load32(flow->destination + 12);
	sum = less16(sum, old->udp.source) + load16(flow->source_port);
	sum = less16(sum, old->udp.dest) + load16(flow->destination_port);
	sum = less16(sum, old->udp.len) + length;
	sum = less16(sum, old->udp.len) + length;
	return sum;
}

static __always_inline void write_udp(struct udphdr *udp,
				      const struct old_headers *old,
				      const struct flow *flow, __be16 length,
				      __u64 sum, __u32 flags)
{
	__u16 check = fold(sum);

	if (!check) /* which would say: none (RFC 768) */
		check = 0xffff;
	if (!old->udp.check || !(flags & FLAG_UDP_CHECKSUM))
		check = 0;
	udp->source = load16(flow->source_port);
	udp->dest = load16(flow->destination_port);
	udp->len = length;
	udp->check = check;
}

/* Gives the way out for a frame that has been rewritten. */
static __always_inline enum counter send(struct xdp_md *ctx,
					 struct packet *packet,
					 const struct flow *flow,
					 enum direction direction)
{
	if (flow->ifindex == ctx->ingress_ifindex) {
		packet->action = XDP_TX;
		return DIRECTED(relay_tx, routed);
	}
	packet->action = bpf_redirect(flow->ifindex, 0);
	return DIRECTED(relay_redirect, routed);
}

static __always_inline enum counter failed(struct packet *packet,
					   enum direction direction)
{
	packet->action = XDP_DROP;
	return DIRECTED(drop, rewrite_failed);
}

/* Takes the ChannelData header out. */
static __always_inline enum counter
strip(struct xdp_md *ctx, struct packet *packet, const struct flow *flow,
      const struct old_headers *old, __u32 trailing, __u32 flags)
{
	__be16 length = bpf_htons(bpf_ntohs(old->udp.len) -
				  sizeof(struct channel_header));
	struct ethhdr *eth;
	struct iphdr *ip;
	struct udphdr *udp;
	__u64 sum;

	if (bpf_xdp_adjust_head(ctx, (int)sizeof(struct channel_header)))
		return COUNTER_pass_to_peer_no_headroom;
	if (trailing && bpf_xdp_adjust_tail(ctx, -(int)trailing))
		return failed(packet, TO_PEER);
	eth = (void *)(long)ctx->data;
	ip = (void *)(eth + 1);
	udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > (void *)(long)ctx->data_end)
		return failed(packet, TO_PEER);

	sum = udp_sum(old, flow, length);
	sum = less16(sum, old->channel.number);
	sum = less16(sum, old->channel.length);
	write_ethernet(eth, flow);
	write_ip(ip, &old->ip, flow,
		 bpf_ntohs(old->ip.tot_len) - sizeof(struct channel_header));
	write_udp(udp, old, flow, length, sum, flags);
	return send(ctx, packet, flow, TO_PEER);
}

/* Puts a ChannelData header in. */
static __always_inline enum counter
insert(struct xdp_md *ctx, struct packet *packet, const struct flow *flow,
       const struct old_headers *old, __u32 trailing, __u32 flags)
{
	__u16 payload = bpf_ntohs(old->udp.len) - sizeof(struct udphdr);
	__be16 length = bpf_htons(bpf_ntohs(old->udp.len) +
				  sizeof(struct channel_header));
	struct channel_header *channel;
	struct ethhdr *eth;
	struct iphdr *ip;
	struct udphdr *udp;
	__u64 sum;

	/* Some drivers leave next to no headroom. */
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct channel_header)))
		return COUNTER_pass_to_client_no_headroom;
	if (trailing && bpf_xdp_adjust_tail(ctx, -(int)trailing))
		return failed(packet, TO_CLIENT);
	eth = (void *)(long)ctx->data;
	ip = (void *)(eth + 1);
	udp = (void *)(ip + 1);
	channel = (void *)(udp + 1);
	if ((void *)(channel + 1) > (void *)(long)ctx->data_end)
		return failed(packet, TO_CLIENT);

	sum = udp_sum(old, flow, length);
	sum += load16(flow->channel);
	sum += bpf_htons(payload);
	write_ethernet(eth, flow);
	write_ip(ip, &old->ip, flow,
		 bpf_ntohs(old->ip.tot_len) + sizeof(struct channel_header));
	write_udp(udp, old, flow, length, sum, flags);
	channel->number = load16(flow->channel);
	channel->length = bpf_htons(payload);
	return send(ctx, packet, flow, TO_CLIENT);
}

/* Counts a packet for its flow, and notes whether it is the first. */
static __always_inline void count_flow(struct packet *packet,
				       const struct flow *flow, __u32 bytes)
{
	struct flow_counters *counted;

	counted = bpf_map_lookup_elem(&flow_counters, &packet->number);
	if (!counted)
		return;
	if (counted->serial != flow->serial ||
	    counted->generation != packet->generation) {
		counted->serial = flow->serial;
		counted->generation = packet->generation;
		packet->first = 1;
	}
	__sync_fetch_and_add(&counted->packets, 1);
	__sync_fetch_and_add(&counted->bytes, bytes);
}

/* Finds the way of a packet that is ours and acts on it. */
static __always_inline enum counter
route(struct xdp_md *ctx, struct packet *packet, const struct old_headers *old,
      enum direction direction, __u32 trailing, __u32 flags)
{
	__u32 length = bpf_ntohs(old->ip.tot_len);
	const __u32 *number;
	const struct flow *flow;
	enum counter outcome;

	number = bpf_map_lookup_elem(&routes, &packet->key);
	if (!number)
		return DIRECTED(pass, no_route);
	packet->number = *(volatile const __u32 *)number;
	flow = bpf_map_lookup_elem(&flows, &packet->number);
	if (!flow || !same_key(&flow->key, &packet->key)) {
		packet->number = NO_FLOW;
		return DIRECTED(pass, route_changed);
	}
	if (packet->now >= *(volatile const __u64 *)&flow->expiry)
		return DIRECTED(pass, expired);
	if (!flow->ifindex)
		return DIRECTED(pass, no_next_hop);
	if (!is_ipv4(flow->source) || !is_ipv4(flow->destination) ||
	    (direction == TO_PEER) != !load16(flow->channel))
		return DIRECTED(pass, unsupported_flow);
	if (old->ip.ttl <= 1)
		return DIRECTED(pass, ttl);

	if (direction == TO_PEER) {
		length -= sizeof(struct channel_header);
		if (length > flow->mtu)
			return DIRECTED(pass, too_big);
		outcome = strip(ctx, packet, flow, old, trailing, flags);
	} else {
		length += sizeof(struct channel_header);
		if (length > flow->mtu)
			return DIRECTED(pass, too_big);
		outcome = insert(ctx, packet, flow, old, trailing, flags);
	}
	if (packet->action == XDP_TX || packet->action == XDP_REDIRECT)
		count_flow(packet, flow,
			   length - sizeof(struct iphdr) -
				   sizeof(struct udphdr) -
				   (direction == TO_CLIENT
					    ? sizeof(struct channel_header)
					    : 0));
	return outcome;
}

/* Gives the frame its fate. */
static __always_inline enum counter decide(struct xdp_md *ctx,
					   struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 frame = bpf_xdp_get_buff_len(ctx);
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct channel_header *channel = (void *)(udp + 1);
	const struct config_slot *config;
	enum direction direction;
	struct old_headers old;
	enum counter outcome;
	__u32 total, trailing;

	config = read_config(packet, &outcome);
	if (!config)
		return outcome;

	if ((void *)(eth + 1) > end)
		return COUNTER_pass_none_multi_buffer;
	if (eth->h_proto != bpf_htons(ETH_P_IP)) {
		if (eth->h_proto == bpf_htons(ETH_P_8021Q) ||
		    eth->h_proto == bpf_htons(ETH_P_8021AD))
			return COUNTER_pass_none_vlan;
		return COUNTER_pass_none_not_ipv4;
	}

	if ((void *)(ip + 1) > end)
		return frame < sizeof(struct ethhdr) + sizeof(struct iphdr)
			       ? COUNTER_pass_none_bad_header
			       : COUNTER_pass_none_multi_buffer;
	old.ip = *ip;
	__builtin_memset(packet->key.remote + 10, 0xff, 2);
	__builtin_memset(packet->key.local + 10, 0xff, 2);
	__builtin_memcpy(packet->key.remote + 12, &old.ip.saddr, 4);
	__builtin_memcpy(packet->key.local + 12, &old.ip.daddr, 4);
	if (old.ip.version != 4 || old.ip.ihl < 5)
		return COUNTER_pass_none_bad_header;
	if (old.ip.protocol != IPPROTO_UDP)
		return COUNTER_pass_none_not_udp;
	if (old.ip.ihl > 5)
		return COUNTER_pass_none_ip_options;
	if (old.ip.frag_off & bpf_htons(IP_OFFSET_AND_MORE_FRAGMENTS))
		return COUNTER_pass_none_fragment;

	if ((void *)(udp + 1) > end)
		return frame < sizeof(*eth) + sizeof(*ip) + sizeof(*udp)
			       ? COUNTER_pass_none_bad_header
			       : COUNTER_pass_none_multi_buffer;
	old.udp = *udp;
	__builtin_memcpy(packet->key.remote_port, &old.udp.source, 2);
	__builtin_memcpy(packet->key.local_port, &old.udp.dest, 2);
	if (!old.udp.dest)
		return COUNTER_pass_none_not_ours;
	if (is_listen_port(config, old.udp.dest))
		direction = TO_PEER;
	else if (in_port_range(config, old.udp.dest))
		direction = TO_CLIENT;
	else
		return COUNTER_pass_none_not_ours;

	/* Short frames carry padding: the frame may be longer, never shorter.
	 */
	total = bpf_ntohs(old.ip.tot_len);
	if (total < sizeof(struct iphdr) + sizeof(struct udphdr) ||
	    total + sizeof(struct ethhdr) > frame ||
	    bpf_ntohs(old.udp.len) != total - sizeof(struct iphdr))
		return DIRECTED(pass, bad_length);
	trailing = frame - sizeof(struct ethhdr) - total;
	if (frame > LINEAR_FRAME)
		return DIRECTED(pass, multi_buffer);
	if (eth->h_dest[0] & 1 || !old.udp.source || is_martian(old.ip.saddr) ||
	    is_martian(old.ip.daddr))
		return DIRECTED(pass, martian);

	if (direction == TO_CLIENT) {
		return route(ctx, packet, &old, TO_CLIENT, trailing,
			     config->flags);
	}

	if (total < sizeof(struct iphdr) + sizeof(struct udphdr) +
			    sizeof(struct channel_header))
		return COUNTER_pass_to_peer_not_channel_data;
	if ((void *)(channel + 1) > end)
		return COUNTER_pass_to_peer_multi_buffer;
	old.channel = *channel;
	/* RFC 8656 §12: the first two bits of a channel number are 01. */
	if ((old.channel.number & bpf_htons(0xc000)) != bpf_htons(0x4000))
		return COUNTER_pass_to_peer_not_channel_data;
	__builtin_memcpy(packet->key.channel, &old.channel.number, 2);
	/*
	 * A shorter length means padding, or several datagrams that an offload
	 * has merged into one; user space can tell, and trims or splits.
	 */
	total -= sizeof(struct iphdr) + sizeof(struct udphdr) +
		 sizeof(struct channel_header);
	if (bpf_ntohs(old.channel.length) < total)
		return COUNTER_pass_to_peer_padded_channel_data;
	if (bpf_ntohs(old.channel.length) > total)
		return COUNTER_pass_to_peer_truncated_channel_data;
	return route(ctx, packet, &old, TO_PEER, trailing, config->flags);
}

static __always_inline void report(struct xdp_md *ctx,
				   const struct packet *packet,
				   enum counter outcome,
				   struct counters *counted)
{
	struct decision *event;

	event = bpf_ringbuf_reserve(&decisions, sizeof(*event), 0);
	if (!event) {
		counted->decisions_lost++;
		return;
	}
	event->time = packet->now;
	event->outcome = outcome;
	event->generation = packet->generation;
	event->flow = packet->number;
	event->cpu = bpf_get_smp_processor_id();
	event->ifindex = ctx->ingress_ifindex;
	event->length = bpf_xdp_get_buff_len(ctx);
	event->key = packet->key;
	bpf_ringbuf_submit(event, 0);
}

SEC("xdp.frags")
int router(struct xdp_md *ctx)
{
	struct packet packet = {.number = NO_FLOW, .action = XDP_PASS};
	struct counters *counted;
	enum counter outcome;
	__u64 *words, count;
	__u32 zero = 0;

	counted = bpf_map_lookup_elem(&counters, &zero);
	if (!counted) /* cannot be; the verifier wants it said */
		return XDP_PASS;

	outcome = decide(ctx, &packet);
	words = (__u64 *)counted;
	words[COUNTER_received]++;
	count = ++words[outcome];

	if (packet.first ||
	    (packet.action != XDP_TX && packet.action != XDP_REDIRECT &&
	     (count <= SAMPLE_FIRST || count % SAMPLE_EVERY == 0)))
		report(ctx, &packet, outcome, counted);
	return packet.action;
}

char LICENSE[] SEC("license") = "GPL";

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
 * - One counter per way out, and one place that counts.
 *
 * No packet pointers are subtracted and none moves by a variable: the verifier
 * then asks for CAP_BPF and CAP_NET_ADMIN only, not for CAP_PERFMON.
 *
 * Functions that are neither inlined nor static are walked by the verifier
 * once, by themselves, instead of once for each way that leads to them.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "packet.h"
#include "rewrite.h"

#define IP_OFFSET_AND_MORE_FRAGMENTS 0x3fff

/*
 * What one 4 KiB page holds beside 256 bytes of headroom and the kernel's
 * skb_shared_info. A longer frame may lie in several buffers, which not every
 * device can send: it goes up.
 */
#define LINEAR_FRAME 3520

/* The one config read. NULL: the reason is in *outcome. */
static __always_inline const struct config_slot *read_config(struct packet *packet,
							     enum counter *outcome)
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
	if (config->magic != SLOT_MAGIC || config->abi != ROUTER_ABI || !config->generation)
		return NULL;

	packet->now = bpf_ktime_get_coarse_ns();
	if (packet->now >= *(volatile const __u64 *)&active->lease_until) {
		*outcome = COUNTER_pass_none_lease_expired;
		return NULL;
	}

	packet->generation = config->generation;
	packet->flags = config->flags;
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

/* Counts a packet for its flow, and notes whether it is the first. */
static __always_inline void count_flow(struct packet *packet, const struct flow *flow, __u32 bytes)
{
	struct flow_counters *counted;

	counted = bpf_map_lookup_elem(&flow_counters, &packet->flow);
	if (!counted)
		return;
	if (counted->serial != flow->serial || counted->generation != packet->generation) {
		counted->serial = flow->serial;
		counted->generation = packet->generation;
		packet->first = 1;
	}
	__sync_fetch_and_add(&counted->packets, 1);
	__sync_fetch_and_add(&counted->bytes, bytes);
}

/*
 * Takes the ChannelData header out, or puts one in, and sends the frame. From
 * its first successful helper on, the frame never goes up.
 */
static __always_inline enum counter relay(struct xdp_md *ctx, struct packet *packet,
					  const struct flow *flow, __u32 from_peer)
{
	__u32 payload = bpf_ntohs(packet->udp.len) - sizeof(struct udphdr);
	int growth = growth_of(from_peer);
	struct channel_header insert, *channel;
	struct ethhdr *eth;
	struct iphdr *ip;
	struct udphdr *udp;

	/* Some drivers leave next to no headroom. */
	if (bpf_xdp_adjust_head(ctx, -growth))
		return DIRECTED(pass, no_headroom);
	eth = (void *)(long)ctx->data;
	ip = (void *)(eth + 1);
	udp = (void *)(ip + 1);
	channel = (void *)(udp + 1);
	if ((void *)channel > (void *)(long)ctx->data_end)
		goto failed;

	/* Zeros to strip, else the header to insert. */
	insert.number = load16(flow->channel);
	insert.length = bpf_htons(payload * from_peer);
	write_ethernet(eth, flow);
	write_ip(ip, &packet->ip, flow, growth);
	write_udp(udp, packet, flow, insert, growth);
	if (from_peer) {
		if ((void *)(channel + 1) > (void *)(long)ctx->data_end)
			goto failed;
		*channel = insert;
	}
	if (packet->trailing && bpf_xdp_adjust_tail(ctx, -(int)packet->trailing))
		goto failed;
	count_flow(packet, flow, payload - sizeof(*channel) * (1 - from_peer));

	if (flow->ifindex == ctx->ingress_ifindex) {
		packet->action = XDP_TX;
		return DIRECTED(relay_tx, routed);
	}
	packet->action = bpf_redirect(flow->ifindex, 0);
	return DIRECTED(relay_redirect, routed);

failed:
	packet->action = XDP_DROP;
	return DIRECTED(drop, rewrite_failed);
}

/*
 * Finds the flow of a packet that is ours, checks whether it may be used, and
 * uses it.
 */
__noinline int route(struct xdp_md *ctx, struct packet *packet)
{
	const struct flow *flow;
	const __u32 *number;
	struct route_key key;
	__u32 from_peer, found;

	if (!packet)
		return COUNTER_received; /* cannot be; the verifier wants it
					    said */
	/* Linux 6.1 takes keys from this function's own stack only. */
	key = packet->key;
	number = bpf_map_lookup_elem(&routes, &key);
	if (!number)
		return DIRECTED(pass, no_route);
	found = *(volatile const __u32 *)number;
	flow = bpf_map_lookup_elem(&flows, &found);
	if (!flow || !same_key(&flow->key, &key))
		return DIRECTED(pass, route_changed);
	packet->flow = found;
	if (packet->now >= *(volatile const __u64 *)&flow->expiry)
		return DIRECTED(pass, expired);
	if (!flow->ifindex)
		return DIRECTED(pass, no_next_hop);
	/* IPv4 to IPv4, and from a channel to none or the other way round. */
	from_peer = is_zero(load16(flow->key.channel));
	if (!is_ipv4(flow->source) || !is_ipv4(flow->destination) ||
	    from_peer == is_zero(load16(flow->channel)))
		return DIRECTED(pass, unsupported_flow);
	if (packet->ip.ttl <= 1)
		return DIRECTED(pass, ttl);
	if (bpf_ntohs(packet->ip.tot_len) + growth_of(from_peer) > flow->mtu)
		return DIRECTED(pass, too_big);
	return relay(ctx, packet, flow, from_peer);
}

/* Reads the ChannelData header. 0: it is there, and as long as it says. */
static __always_inline enum counter read_channel(const struct channel_header *channel,
						 const void *end, struct packet *packet,
						 __u32 payload)
{
	struct channel_header read;

	if (payload < sizeof(read))
		return COUNTER_pass_to_peer_not_channel_data;
	if ((const void *)(channel + 1) > end)
		return COUNTER_pass_to_peer_multi_buffer;
	read = *(const struct channel_header *)channel;
	/* RFC 8656 §12: the first two bits of a channel number are 01. */
	if ((read.number & bpf_htons(0xc000)) != bpf_htons(0x4000))
		return COUNTER_pass_to_peer_not_channel_data;
	packet->channel = read;
	__builtin_memcpy(packet->key.channel, &read.number, 2);
	/*
	 * A shorter length means padding, or several datagrams that an offload
	 * has merged into one; user space can tell, and trims or splits.
	 */
	payload -= sizeof(read);
	if (bpf_ntohs(read.length) < payload)
		return COUNTER_pass_to_peer_padded_channel_data;
	if (bpf_ntohs(read.length) > payload)
		return COUNTER_pass_to_peer_truncated_channel_data;
	return 0;
}

/* Gives the frame its fate. */
static __always_inline enum counter decide(struct xdp_md *ctx, struct packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	const __u32 headers = sizeof(struct iphdr) + sizeof(struct udphdr);
	__u32 frame = bpf_xdp_get_buff_len(ctx), total;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	const struct config_slot *config;
	enum counter outcome;

	config = read_config(packet, &outcome);
	if (!config)
		return outcome;

	if ((void *)ip > end)
		return COUNTER_pass_none_multi_buffer;
	if (eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD))
		return COUNTER_pass_none_vlan;
	if (eth->h_proto != bpf_htons(ETH_P_IP))
		return COUNTER_pass_none_not_ipv4;

	if ((void *)udp > end)
		return frame < sizeof(*eth) + sizeof(*ip) ? COUNTER_pass_none_bad_header
							  : COUNTER_pass_none_multi_buffer;
	packet->ip = *ip;
	__builtin_memset(packet->key.remote + 10, 0xff, 2);
	__builtin_memset(packet->key.local + 10, 0xff, 2);
	__builtin_memcpy(packet->key.remote + 12, &packet->ip.saddr, 4);
	__builtin_memcpy(packet->key.local + 12, &packet->ip.daddr, 4);
	if (packet->ip.version != 4 || packet->ip.ihl < 5)
		return COUNTER_pass_none_bad_header;
	if (packet->ip.protocol != IPPROTO_UDP)
		return COUNTER_pass_none_not_udp;
	if (packet->ip.ihl > 5)
		return COUNTER_pass_none_ip_options;
	if (packet->ip.frag_off & bpf_htons(IP_OFFSET_AND_MORE_FRAGMENTS))
		return COUNTER_pass_none_fragment;

	if ((void *)(udp + 1) > end)
		return frame < sizeof(*eth) + headers ? COUNTER_pass_none_bad_header
						      : COUNTER_pass_none_multi_buffer;
	copy64(&packet->udp, udp);
	__builtin_memcpy(packet->key.remote_port, &packet->udp.source, 2);
	__builtin_memcpy(packet->key.local_port, &packet->udp.dest, 2);
	if (!packet->udp.dest)
		return COUNTER_pass_none_not_ours;
	if (is_listen_port(config, packet->udp.dest))
		packet->direction = TO_PEER;
	else if (in_port_range(config, packet->udp.dest))
		packet->direction = TO_CLIENT;
	else
		return COUNTER_pass_none_not_ours;

	/* Short frames carry padding: the frame may be longer, never shorter.
	 */
	total = bpf_ntohs(packet->ip.tot_len);
	if (total < headers || total + sizeof(*eth) > frame ||
	    bpf_ntohs(packet->udp.len) != total - sizeof(*ip))
		return DIRECTED(pass, bad_length);
	packet->trailing = frame - sizeof(*eth) - total;
	if (frame > LINEAR_FRAME)
		return DIRECTED(pass, multi_buffer);
	if ((eth->h_dest[0] & 1) | is_zero(packet->udp.source) | is_martian(packet->ip.saddr))
		return DIRECTED(pass, martian);

	if (packet->direction == TO_PEER) {
		outcome = read_channel((void *)(udp + 1), end, packet, total - headers);
		if (outcome)
			return outcome;
	}
	return route(ctx, packet);
}

/* Counts a frame, and tells whether it is to be an example. */
__noinline int account(__u32 outcome)
{
	struct counters *counted;
	__u64 *words, count;
	__u32 zero = 0;

	counted = bpf_map_lookup_elem(&counters, &zero);
	if (!counted || outcome >= sizeof(*counted) / sizeof(*words))
		return 0; /* cannot be */
	words = (__u64 *)counted;
	words[COUNTER_received]++;
	count = ++words[outcome];
	if (outcome >= COUNTER_relay_tx_to_peer_routed &&
	    outcome <= COUNTER_relay_redirect_to_client_routed)
		return 0;
	return count <= SAMPLE_FIRST || count % SAMPLE_EVERY == 0;
}

/* Sends an event. A full ring buffer is counted. */
__noinline int report(struct xdp_md *ctx, const struct packet *packet, __u32 outcome)
{
	struct counters *counted;
	struct decision *event;
	__u32 zero = 0;

	if (!packet)
		return 0; /* cannot be */
	event = bpf_ringbuf_reserve(&decisions, sizeof(*event), 0);
	if (!event) {
		counted = bpf_map_lookup_elem(&counters, &zero);
		if (counted)
			counted->decisions_lost++;
		return 0;
	}
	event->time = packet->now;
	event->outcome = outcome;
	event->generation = packet->generation;
	event->flow = packet->flow;
	event->cpu = bpf_get_smp_processor_id();
	event->ifindex = ctx->ingress_ifindex;
	event->length = bpf_xdp_get_buff_len(ctx);
	event->key = packet->key;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("xdp.frags")
int router(struct xdp_md *ctx)
{
	struct packet packet = {.flow = NO_FLOW, .action = XDP_PASS};
	enum counter outcome = decide(ctx, &packet);

	if (account(outcome) | packet.first)
		report(ctx, &packet, outcome);
	return packet.action;
}

char LICENSE[] SEC("license") = "GPL";

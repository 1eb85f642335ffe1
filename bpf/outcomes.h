// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/*
 * Every way in which a frame can leave the router. Each is counted by itself
 * in `struct counters`, so a frame's fate is one word, and the words' sum is
 * what was received.
 *
 * NONE(verdict, reason): decided before the direction was known.
 * PEER, CLIENT:          possible in that direction only.
 * BOTH:                  to_peer and, in the next word, to_client.
 *
 * The Go labels (outcomes.go) are compared with this list through BTF.
 */
#ifndef PLUMBLINE_OUTCOMES_H
#define PLUMBLINE_OUTCOMES_H

#define OUTCOMES(NONE, PEER, CLIENT, BOTH) \
	NONE(pass, config_unset)           \
	NONE(pass, lease_expired)          \
	NONE(pass, disabled)               \
	NONE(pass, not_ipv4)               \
	NONE(pass, vlan)                   \
	NONE(pass, bad_header)             \
	NONE(pass, not_udp)                \
	NONE(pass, ip_options)             \
	NONE(pass, fragment)               \
	NONE(pass, not_ours)               \
	NONE(pass, multi_buffer)           \
	BOTH(pass, multi_buffer)           \
	BOTH(pass, bad_length)             \
	BOTH(pass, martian)                \
	PEER(pass, not_channel_data)       \
	PEER(pass, padded_channel_data)    \
	PEER(pass, truncated_channel_data) \
	BOTH(pass, no_route)               \
	BOTH(pass, route_changed)          \
	BOTH(pass, expired)                \
	BOTH(pass, no_next_hop)            \
	BOTH(pass, unsupported_flow)       \
	BOTH(pass, ttl)                    \
	BOTH(pass, too_big)                \
	BOTH(pass, no_headroom)            \
	BOTH(relay_tx, routed)             \
	BOTH(relay_redirect, routed)       \
	BOTH(drop, rewrite_failed)

#define COUNTER(verdict, direction, reason) COUNTER_##verdict##_##direction##_##reason,
#define COUNTER_NONE(verdict, reason) COUNTER(verdict, none, reason)
#define COUNTER_PEER(verdict, reason) COUNTER(verdict, to_peer, reason)
#define COUNTER_CLIENT(verdict, reason) COUNTER(verdict, to_client, reason)
#define COUNTER_BOTH(verdict, reason)     \
	COUNTER(verdict, to_peer, reason) \
	COUNTER(verdict, to_client, reason)

/* The index of a word in struct counters. */
enum counter {
	COUNTER_received,
	COUNTER_decisions_lost,
	OUTCOMES(COUNTER_NONE, COUNTER_PEER, COUNTER_CLIENT, COUNTER_BOTH)
};

#define FIELD(verdict, direction, reason) __u64 verdict##_##direction##_##reason;
#define FIELD_NONE(verdict, reason) FIELD(verdict, none, reason)
#define FIELD_PEER(verdict, reason) FIELD(verdict, to_peer, reason)
#define FIELD_CLIENT(verdict, reason) FIELD(verdict, to_client, reason)
#define FIELD_BOTH(verdict, reason)     \
	FIELD(verdict, to_peer, reason) \
	FIELD(verdict, to_client, reason)

/* One CPU's frames. A struct rather than an array, so that a dump names them.
 */
struct counters {
	__u64 received;	      /* the sum of all below but decisions_lost */
	__u64 decisions_lost; /* events for which the ring buffer had no room */
	OUTCOMES(FIELD_NONE, FIELD_PEER, FIELD_CLIENT, FIELD_BOTH)
};

#endif

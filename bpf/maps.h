// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/*
 * The maps: what user space tells the router and what the router tells back.
 * Each map has one writer. Network fields are big-endian byte arrays on both
 * sides; the Go types are compared with these through BTF, offset by offset.
 */
#ifndef PLUMBLINE_MAPS_H
#define PLUMBLINE_MAPS_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "outcomes.h"

enum contract {
	ROUTER_ABI = 1,
	SLOTS = 2,
	FLAG_ENABLED = 1, /* flags */
	FLAG_UDP_CHECKSUM = 2,
	LISTEN_PORTS = 8,
	SLOT_MAGIC = 0x706c756d,
	SAMPLE_FIRST = 4,    /* passes and drops reported per counter and CPU … */
	SAMPLE_EVERY = 4096, /* … and then one in so many */
	NO_FLOW = -1,
};

/*
 * One config. An array map cannot miss, it yields zeros: so zeros, or anything
 * without this magic, ABI and a generation, is no config.
 */
struct config_slot {
	__u32 magic;
	__u32 abi;
	__u32 generation; /* never 0, never used twice */
	__u32 flags;
	__u8 listen_ports[LISTEN_PORTS][2]; /* 0: unused; 8-byte aligned */
	__u8 lowest_port[2];		    /* relayed ports, both ends included */
	__u8 highest_port[2];
	__u32 checksum; /* user space's own check; the router ignores it */
} __attribute__((aligned(8)));

struct config_active {
	__u32 slot;
	__u32 reserved;
	__u64 lease_until; /* CLOCK_MONOTONIC, ns */
};

/*
 * What a packet says of itself. Channel 0 is the peers' side. IPv4 addresses
 * stand as ::ffff:a.b.c.d, so that IPv6 can share the map.
 */
struct route_key {
	__u8 remote[16]; /* the packet's source */
	__u8 local[16];	 /* its destination */
	__u8 remote_port[2];
	__u8 local_port[2];
	__u8 channel[2];
	__u8 reserved[2];
} __attribute__((aligned(8)));

/*
 * What becomes of it. Nothing but the expiry changes while the flow number is
 * live, and a number is used again only after a grace period: so this is read
 * in place, without a copy or a lock.
 */
struct flow {
	struct route_key key; /* must equal the packet's */
	__u8 source[16];
	__u8 destination[16];
	__u8 source_port[2];
	__u8 destination_port[2];
	__u8 channel[2]; /* to insert; 0: strip */
	__u16 mtu;	 /* of the way out: the largest IP packet */
	__u32 ifindex;	 /* 0: the next hop is not known */
	__u8 dst_mac[6];
	__u8 src_mac[6];
	__u64 expiry; /* CLOCK_MONOTONIC, ns: dead from then on */
	__u32 serial; /* tells one user of a flow number from the next */
	__u32 reserved;
};

struct flow_counters {
	__u64 packets;
	__u64 bytes;  /* of application data, without the ChannelData header */
	__u32 serial; /* flow and generation last reported as first seen */
	__u32 generation;
};

struct observed {
	__u32 generation; /* last decided under on this CPU and slot */
	__u32 reserved;
	__u64 packets; /* since that generation was first seen here */
};

/* An event. Hints for promptness: no sum depends on one arriving. */
struct decision {
	__u64 time; /* CLOCK_MONOTONIC, ns */
	enum counter outcome;
	__u32 generation; /* 0: no valid config */
	__u32 flow;	  /* NO_FLOW: none */
	__u32 cpu;
	__u32 ifindex;	      /* where the frame came in */
	__u32 length;	      /* of the frame, bytes */
	struct route_key key; /* as far as it was read; zeros beyond */
};

/* Keeps these in BTF, where the Go tests find them. No map comes of it. */
struct decision *unused_decision __attribute__((unused));
enum contract *unused_contract __attribute__((unused));

/* user space writes, router reads */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct config_slot);
} config_slots SEC(".maps");

/* user space writes (whole words, through mmap), router reads */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config_active);
} config_active SEC(".maps");

/*
 * user space writes, router reads. An element may be reused under a reader's
 * eyes, so it holds nothing but a number, and the flow says whose it is.
 * max_entries is set by the loader, here and for the two below.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct route_key);
	__type(value, __u32);
} routes SEC(".maps");

/* user space writes (the expiry through mmap), router reads */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

/* router writes, user space reads */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_counters);
} flow_counters SEC(".maps");

/* router writes, user space reads */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* router writes, user space reads a slot's entry before it writes that slot */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct observed);
} observed SEC(".maps");

/* router writes struct decision, user space reads */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} decisions SEC(".maps");

#endif

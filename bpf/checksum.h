// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

/*
 * Internet checksums changed in place (RFC 1624, equation 3): the new sum is
 * the old one, less what left, plus what came. Ones' complement addition does
 * not care for byte order, so words are added as they lie in the packet.
 */
#ifndef PLUMBLINE_CHECKSUM_H
#define PLUMBLINE_CHECKSUM_H

#include <linux/types.h>

static __always_inline __u64 less16(__u64 sum, __u16 word)
{
	return sum + (__u16)~word;
}

static __always_inline __u64 less32(__u64 sum, __u32 word)
{
	return sum + (__u32)~word;
}

/*
 * The checksum of a sum of fewer than 65,536 words. Two folds to 16 bits do: a
 * first fold that carries out of 32 bits leaves next to nothing below.
 */
static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

#endif

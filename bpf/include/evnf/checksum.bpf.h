/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * One's-complement arithmetic. A difference is what replacing one field by
 * another adds to a sum over it (RFC 1624), in the byte order of the packet.
 */
#pragma once

#include <linux/types.h>

#include <bpf/bpf_helpers.h>

static __always_inline __u32 evnf_fold(__u64 sum)
{
	sum = (sum >> 32) + (__u32)sum;
	sum = (sum >> 16) + (__u16)sum;
	sum = (sum >> 16) + (__u16)sum;
	return (sum >> 16) + (__u16)sum;
}

static __always_inline __u16 evnf_checksum_add(__u16 checksum, __u32 difference)
{
	return ~evnf_fold((__u64)(__u16)~checksum + difference);
}

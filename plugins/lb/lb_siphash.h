/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* SipHash-1-3 of whole words, for the fast path, which is not to be aimed at, and for the placement by seed. */
#ifndef LB_SIPHASH_H
#define LB_SIPHASH_H

#include "lb_shared.h"

#define LB_INLINE static inline __attribute__((always_inline))

LB_INLINE __u64 lb_rotate(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

LB_INLINE void lb_sip_round(__u64 v[4])
{
	v[0] += v[1], v[1] = lb_rotate(v[1], 13) ^ v[0], v[0] = lb_rotate(v[0], 32);
	v[2] += v[3], v[3] = lb_rotate(v[3], 16) ^ v[2];
	v[0] += v[3], v[3] = lb_rotate(v[3], 21) ^ v[0];
	v[2] += v[1], v[1] = lb_rotate(v[1], 17) ^ v[2], v[2] = lb_rotate(v[2], 32);
}

/* The last word ends with the input's length, as SipHash wants it: that is the caller's affair. */
LB_INLINE __u64 lb_siphash(const struct lb_hash_key *key, const __u64 *words, unsigned int count)
{
	__u64 v[4] = {
		key->halves[0] ^ 0x736f6d6570736575ull, key->halves[1] ^ 0x646f72616e646f6dull,
		key->halves[0] ^ 0x6c7967656e657261ull, key->halves[1] ^ 0x7465646279746573ull,
	};

	for (unsigned int i = 0; i < count; i++) {
		v[3] ^= words[i];
		lb_sip_round(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	lb_sip_round(v);
	lb_sip_round(v);
	lb_sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif

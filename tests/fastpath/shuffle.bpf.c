// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * In front of a port's entry, for BPF_PROG_TEST_RUN with `repeat`: makes of an
 * IPv4 frame without tags and options that goes from or to 10.1.0.0/16 one of
 * another of the hosts and ports there, in TCP with other flags.
 */
#include <linux/in.h>

#include "evnf/ctx.bpf.h"
#include "evnf/tcp.bpf.h"

EVNF_LICENSE;

enum { PROTOCOL = 14 + 9, SOURCE = 14 + 12, DESTINATION = 14 + 16, PORTS = 14 + 20, TCP_FLAGS = PORTS + 13, END = PORTS + 20 };

/* Written by user space before it runs. */
__u32 ports = 1, hosts = 1;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} shuffled_entry SEC(".maps");

static const __u8 flags[] = { EVNF_TCP_SYN, EVNF_TCP_ACK, EVNF_TCP_ACK, EVNF_TCP_ACK, EVNF_TCP_ACK, EVNF_TCP_ACK,
				EVNF_TCP_ACK | EVNF_TCP_FIN, EVNF_TCP_RST };

SEC(EVNF_SECTION) int shuffle(evnf_ctx *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	__u32 random = bpf_get_prandom_u32();
	bool back;

	if ((void *)(frame + END) > (void *)(long)ctx->data_end)
		return EVNF_HOOK_DROP;
	back = frame[DESTINATION + 1] == 1;
	frame[(back ? DESTINATION : SOURCE) + 3] = 1 + random % hosts;
	*(__be16 *)(frame + PORTS + (back ? 2 : 0)) = bpf_htons(1024 + (random >> 8) % ports);
	if (frame[PROTOCOL] == IPPROTO_TCP)
		frame[TCP_FLAGS] = flags[random >> 29];
	bpf_tail_call(ctx, &shuffled_entry, 0);
	return EVNF_HOOK_DROP;
}

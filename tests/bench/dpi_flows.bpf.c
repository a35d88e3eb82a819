// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * Many flows: run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES, it writes
 * one packet and sends it. Every other flow is of UDP packets with payload, the
 * rest are SYNs that are sent again.
 */
#include "paced.bpf.h"

#include <linux/tcp.h>
#include <linux/udp.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Without its FCS: 64 bytes on a wire. */
enum { FRAME = 60 };

struct packet {
	struct network_headers network;
	union {
		struct tcphdr tcp;
		struct udphdr udp;
		__u8 all[FRAME - sizeof(struct network_headers)];
	} __attribute__((packed));
} __attribute__((packed));
_Static_assert(sizeof(struct packet) == FRAME, "no padding");

/* Written by user space before the first run. The frames are from port 0 of 128.0.0.0, without a checksum of UDP. */
__u8 udp_frame[FRAME] = {}, syn_frame[FRAME] = {};
__u64 packets = 0;  /* that are sent in all */
__u64 flows = 1;    /* that come in turn */
__u64 in_a_row = 1; /* packets of a flow in its turn */

static __always_inline void write_udp(struct packet *packet, const struct source *source)
{
	__builtin_memcpy(packet, udp_frame, FRAME);
	packet->udp.source = source->port;
}

static __always_inline void write_syn(struct packet *packet, const struct source *source)
{
	__builtin_memcpy(packet, syn_frame, FRAME);
	packet->tcp.source = source->port;
	packet->tcp.check = checksum_with(packet->tcp.check, source->sum);
}

SEC("xdp") int send_flows(struct xdp_md *ctx)
{
	struct packet *packet = (void *)(long)ctx->data;
	struct source source;
	__u64 flow;

	if ((void *)(packet + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (sent == packets || !is_due())
		return XDP_DROP;
	flow = sent++ / in_a_row % flows;
	source = source_of(flow);
	/* All of it, every time: pages come back as the receiver left them. */
	if (flow & 1)
		write_syn(packet, &source);
	else
		write_udp(packet, &source);
	set_source_host(&packet->network, &source);
	return bpf_redirect_map(&egress, 0, 0);
}

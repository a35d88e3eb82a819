// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* Somebody else's tc program, which evnfd must leave alone. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("tc") int foreign_filter(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

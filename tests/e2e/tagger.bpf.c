// SPDX-License-Identifier: MIT OR GPL-2.0-only
/* At tc egress of a host: what it sends is in VLAN 7. Does what a VLAN interface does, on kernels without them, too. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

SEC("tc") int tagger(struct __sk_buff *ctx)
{
	return bpf_skb_vlan_push(ctx, bpf_htons(ETH_P_8021Q), 7) ? TC_ACT_SHOT : TC_ACT_OK;
}

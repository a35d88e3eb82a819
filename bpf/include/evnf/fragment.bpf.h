/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What the fragments of one packet have in common: the key of tables in which later ones follow their first. */
#pragma once

#include "stage.bpf.h"

/* Reassembly goes by this (RFC 791; RFC 8200, section 4.5: in IPv6 by no protocol, for the fragments may name different ones). */
static __always_inline void evnf_key_of_fragment(const struct evnf_packet *pkt, struct evnf_fragment_key *key)
{
	key->src = pkt->src;
	key->dst = pkt->dst;
	key->id = pkt->fragment_id;
	key->protocol = pkt->ip_version == 4 ? pkt->protocol : 0;
}

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
#pragma once

/* Bits of evnf_packet.tcp_flags. */
enum {
	EVNF_TCP_FIN = 0x01,
	EVNF_TCP_SYN = 0x02,
	EVNF_TCP_RST = 0x04,
	EVNF_TCP_ACK = 0x10,
	EVNF_TCP_URG = 0x20,
};

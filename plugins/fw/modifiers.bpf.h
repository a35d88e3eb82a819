/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What is counted of a rule beside the packets that it decided. */
#pragma once

#include <evnf/stage.bpf.h>

#include "fw_shared.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FW_SLOTS);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, struct fw_modifier_counters);
} fw_modifier_counters SEC(".maps");

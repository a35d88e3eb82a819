#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Nanoseconds per packet of the fast path's stages, on one core: cost.cpp says what is measured and how.
set -euo pipefail
EVNF_BUILD=${EVNF_BUILD:-$(cd "$(dirname "$0")/../.." && pwd)/build}
rounds=9 repeat=1000000
[[ ${1:-} != --quick ]] || rounds=3 repeat=200000
exec taskset --cpu-list 0 "$EVNF_BUILD/bin/evnf_cost" "$rounds" "$repeat"

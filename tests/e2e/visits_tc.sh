#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Each stage sees each packet once and in order, or the packet ends in a named verdict: tc.
source "$(dirname "$0")/../visits/visits.sh"
visits tc "$@"

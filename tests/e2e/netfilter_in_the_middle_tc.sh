#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The same where all ports are at tc, and the hosts leave checksums and segments to their interfaces.
# shellcheck disable=SC2034 # read by the scripts that are included
LAB_OFFLOADS=on HOOK=tc
source "$(dirname "$0")/netfilter_in_the_middle.sh"

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# on_stop: keep leaves the chain at work, detach removes it; evnfctl detach removes it too.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
attached() { vnf ip -j link show "$1" | jq '.[0] | has("xdp")'; }

config "$LAB_DIR/keep.yaml" "on_stop: keep" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/keep.yaml"
start_load new 4 "http://$VIP/" -H 'Connection: close'
assert_eventually '(( $(rule_packets web) > 1000 ))' "requests come"
assert_clean
stop_evnfd
for port in eth0 eth1 eth2; do assert_eq true "$(attached $port)" "XDP on $port after a stop with keep"; done
finish_load
assert_load_clean "requests over a stop with keep"

# The next daemon takes over, and stops with detach.
config "$LAB_DIR/detach.yaml" "on_stop: detach" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/detach.yaml"
client curl -sf --max-time 2 "http://$VIP/" >/dev/null || fail "no answer after the take-over"
assert_no_packet_lost
stop_evnfd
for port in eth0 eth1 eth2; do assert_eq false "$(attached $port)" "XDP on $port after a stop with detach"; done
assert_eq "" "$(find "$PIN_DIR" -type f 2>/dev/null)" "pins after a stop with detach"
assert_eq s1 "$(client curl -sf --max-time 2 "http://$S1:8081/")" "what the chain blocked, without a chain"

# evnfctl detach.
start_evnfd "$LAB_DIR/keep.yaml"
assert_eq true "$(attached eth0)" "XDP on eth0"
ctl detach || fail "evnfctl detach failed"
assert_eventually "[[ \$(attached eth0) == false ]]" "evnfctl detach takes XDP off eth0"
assert_eq "" "$(find "$PIN_DIR" -type f 2>/dev/null)" "pins after evnfctl detach"

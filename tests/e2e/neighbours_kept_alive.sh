#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Traffic that the fast path forwards never refreshes a neighbour in the kernel: evnfd must.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
vnf sysctl -qw net.ipv4.neigh.eth1.delay_first_probe_time=1 net.ipv4.neigh.eth0.delay_first_probe_time=1 \
    net.ipv6.neigh.eth1.delay_first_probe_time=1
config "$LAB_DIR/evnf.yaml" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"

state() { vnf ip -j neigh show "$1" dev "$2" | jq -r '.[0].state[0]'; }
age() { vnf ip neigh change "$1" dev "$2" lladdr "$(vnf ip -j neigh show "$1" dev "$2" | jq -r '.[0].lladdr')" nud stale; }

start_load kept 30 "http://$S1:8080/"
assert_eventually '(( $(rule_packets direct) > 1000 ))' "requests come"
age "$S1" eth1
age 10.1.0.2 eth0
assert_eq STALE "$(state "$S1" eth1)" "state of the neighbour"
wait_until '[[ $(state $S1 eth1) == REACHABLE && $(state 10.1.0.2 eth0) == REACHABLE ]]' 25 ||
    fail "neighbours in use are $(state "$S1" eth1) and $(state 10.1.0.2 eth0), not REACHABLE"
assert_clean

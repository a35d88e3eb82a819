#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A port where somebody else's XDP program sits: evnfd says who it is, ends, and leaves it there.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
config "$LAB_DIR/evnf.yaml" <"$LAB_SOURCE/chain.yaml"
bpftool prog load "$EVNF_BUILD/tests/e2e/foreign_bpf.bpf.o" "$LAB_DIR/bpf/foreign"
vnf bpftool net attach xdp pinned "$LAB_DIR/bpf/foreign" dev eth1
program() { vnf ip -j -d link show "$1" | jq '.[0].xdp.prog.id'; }
foreign=$(program eth1)

status=0
vnf timeout 20 "$EVNFD" -c "$LAB_DIR/evnf.yaml" --foreground >"$LAB_DIR/out" 2>&1 || status=$?
assert_eq 2 "$status" "exit status of evnfd ($(cat "$LAB_DIR/out"))"
grep -q eth1 "$LAB_DIR/out" || fail "the port is not named: $(cat "$LAB_DIR/out")"
grep -q foreign_guard "$LAB_DIR/out" || fail "the program is not named: $(cat "$LAB_DIR/out")"
assert_eq "$foreign" "$(program eth1)" "program on eth1"
assert_eq null "$(program eth0)" "program on eth0, where evnfd had begun"

# Once it is gone, evnfd starts.
vnf bpftool net detach xdp dev eth1
start_evnfd "$LAB_DIR/evnf.yaml"
assert_clean

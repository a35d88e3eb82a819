#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A connection stays with its server although a reload takes that server out of the configuration.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
config "$LAB_DIR/evnf.yaml" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"

# Eight long downloads: both servers have some, but for one case in 128.
downloads=()
for i in {1..8}; do
    client curl -sf -o "$LAB_DIR/slow$i" "http://$VIP/slow" &
    downloads+=($!)
done
assert_eventually '[[ $(ctl lb connections --json | jq "[.[] | select(.state == \"established\")] | length") == 8 ]]' "eight connections"
on_s1() { ctl lb connections --json | jq '[.[] | select(.service == "web" and .backend == "s1")] | length'; }

sed '/name: web$/,/name: web6$/ { /name: s1/d }' "$LAB_SOURCE/chain.yaml" | config "$LAB_DIR/evnf.yaml"
kept=$(on_s1)
reload
assert_eq '["s2"]' "$(ctl lb backends --json | jq -c '[.[] | select(.service == "web") | .name]')" "backends of web after the reload"
answers=$(for _ in {1..20}; do client curl -sf --max-time 2 "http://$VIP/"; done | sort -u)
assert_eq s2 "$answers" "servers of new connections"
for i in {1..8}; do
    wait "${downloads[i - 1]}" || fail "download $i of 8 was cut off ($kept were with s1)"
    assert_eq 4194304 "$(stat -c %s "$LAB_DIR/slow$i")" "bytes of download $i"
done
assert_clean

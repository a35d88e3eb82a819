#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A service with mode local is served by a proxy on the VNF, real HAProxy, beside one that the fast path balances.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
OWN_VIP=10.2.0.9
vnf ip addr add "$OWN_VIP/32" dev lo
cat >"$LAB_DIR/haproxy.cfg" <<EOF
defaults
    mode tcp
    timeout connect 2s
    timeout client 10s
    timeout server 10s
listen web
    bind $OWN_VIP:80
    server s1 $S1:80
    server s2 $S2:80
EOF
vnf haproxy -db -f "$LAB_DIR/haproxy.cfg" >"$LAB_DIR/haproxy.log" 2>&1 &
assert_eventually '[[ -n $(vnf ss -Hltn src $OWN_VIP) ]]' "HAProxy listens"

sed "s/^      - {name: web, dst: \[/&$OWN_VIP, /
     s/^      - {name: replies, dst: \[/&10.3.1.1, 10.3.2.1, /
     s/^    services:\$/&\n      - {name: proxied, vip: $OWN_VIP, port: 80, proto: tcp, mode: local}/" "$LAB_SOURCE/chain.yaml" |
    config "$LAB_DIR/evnf.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"

for address in "$OWN_VIP" "$VIP"; do
    answers=$(for _ in {1..20}; do client curl -sf --max-time 2 "http://$address/"; done | sort | uniq | xargs)
    assert_eq "s1 s2" "$answers" "servers behind $address"
    start_load "at-$address" 2 "http://$address/"
    finish_load
    assert_load_clean "load on $address"
done
assert_json '[.[] | select(.service == "proxied")] == []' "$(ctl lb connections --json)" "the proxy's connections are none of lb's"
assert_json 'any(.ports[]; .name == "eth0" and .kernel > 0)' "$(ctl stats --json)" "packets for the proxy go to the kernel"
assert_clean

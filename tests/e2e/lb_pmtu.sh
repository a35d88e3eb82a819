#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Path MTU discovery through the balancer: a hop of 1280 bytes before the client and one behind the servers. Large
# transfers complete both ways, in dnat and fullnat, IPv4 and IPv6. Each hop is so narrow only on its way away from the
# balancer: else whoever sends would hear of it from the router next to him, and no error would pass the balancer.
#
#   far ── edge ←1280─ client ── vnf ── s1 ─1280→ inner ── deep
source "$(dirname "$0")/../lab/lab.sh"
lab_up
for host in edge far inner deep; do lab_host "$host"; done
for router in client edge s1 inner; do lab_routes "$router"; done
lab_wire client eth1 edge eth0 10.21.0 2001:db8:121
lab_wire edge eth1 far eth0 10.22.0 2001:db8:122
lab_wire s1 eth1 inner eth0 10.31.0 2001:db8:131
lab_wire inner eth1 deep eth0 10.32.0 2001:db8:132
lab_default edge 10.21.0.1 2001:db8:121::1
lab_default far 10.22.0.1 2001:db8:122::1
lab_default inner 10.31.0.1 2001:db8:131::1
lab_default deep 10.32.0.1 2001:db8:132::1
route() { # HOST NET4 VIA4 NET6 VIA6 [MTU]
    in_ns "$1" ip route add "$2" via "$3" ${6:+mtu lock "$6"}
    in_ns "$1" ip -6 route add "$4" via "$5" ${6:+mtu lock "$6"}
}
route client 10.22.0.0/24 10.21.0.2 2001:db8:122::/64 2001:db8:121::2 1280
route vnf 10.22.0.0/24 10.1.0.2 2001:db8:122::/64 2001:db8:1::2
route s1 10.32.0.0/24 10.31.0.2 2001:db8:132::/64 2001:db8:131::2 1280
route vnf 10.32.0.0/24 10.3.1.2 2001:db8:132::/64 2001:db8:31::2
start_nginx deep
start_digest deep
head -c 6000000 /dev/urandom >"$LAB_DIR/deep/html/bulk"
DIGEST=$(sha256sum "$LAB_DIR/deep/html/bulk" | cut -c -64)
far() { in_ns far "$@"; }
# What a host has learned of paths, it would tell the other end with the size of its segments.
forget() {
    local host
    for host in far deep; do
        in_ns "$host" ip route flush cache
        in_ns "$host" ip -6 route flush cache
    done
}
# path_mtu HOST ADDRESS: nothing where none was learned.
path_mtu() { in_ns "$1" ip route get "$2" | sed -n 's/.* mtu \([0-9]*\).*/\1/p'; }

for mode in dnat fullnat; do
    config "$LAB_DIR/evnf.yaml" <<YAML
ports: [{name: eth0, chain: [fw, lb]}, {name: eth1, chain: [lb, fw]}, {name: eth2, chain: [lb, fw]}]
plugins:
  fw:
    default: drop
    rules:
      - {name: answers, state: established, action: allow}
      - {name: errors, state: related, action: allow}
      - {name: web, proto: tcp, dport: [80, 9000], state: new, in_port: eth0, action: allow}
  lb:
    nat_pool: [10.9.0.1, "2001:db8:9::1"]
    services:
      - {name: web, vip: $VIP, port: 80, proto: tcp, mode: $mode, backends: [{name: deep, address: 10.32.0.2}]}
      - {name: digest, vip: $VIP, port: 9000, proto: tcp, mode: $mode, backends: [{name: deep, address: 10.32.0.2}]}
      - {name: web6, vip: "$VIP6", port: 80, proto: tcp, mode: $mode, backends: [{name: deep, address: "2001:db8:132::2"}]}
      - {name: digest6, vip: "$VIP6", port: 9000, proto: tcp, mode: $mode, backends: [{name: deep, address: "2001:db8:132::2"}]}
YAML
    start_evnfd "$LAB_DIR/evnf.yaml"
    declare -A seen_by_deep=([dnat]="10.22.0.2 2001:db8:122::2" [fullnat]="10.9.0.1 2001:db8:9::1")
    read -r client4 client6 <<<"${seen_by_deep[$mode]}"
    for ends in "$VIP $VIP $client4" "[$VIP6] $VIP6 $client6"; do
        read -r host vip client <<<"$ends"
        forget
        far curl -sf --max-time 15 -o "$LAB_DIR/bulk" "http://$host/bulk" || fail "$mode: download from $vip"
        assert_eq "$DIGEST" "$(sha256sum "$LAB_DIR/bulk" | cut -c -64)" "$mode: what came down from $vip"
        assert_eq 1280 "$(path_mtu deep "$client")" "$mode: the server's path MTU to $client"
        forget
        assert_eq "$DIGEST" "$(far timeout 20 socat -t 20 - "TCP:$host:9000" <"$LAB_DIR/deep/html/bulk")" "$mode: what went up to $vip"
        assert_eq 1280 "$(path_mtu far "$vip")" "$mode: the client's path MTU to $vip"
    done
    (($(rule_packets errors) >= 4)) || fail "$mode: the errors were not related to their connections"
    assert_clean
    stop_evnfd
    rm -f "$LAB_DIR/bulk"
done

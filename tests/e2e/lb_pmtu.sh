#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Path MTU discovery through the balancer: a hop of 1280 bytes on the clients' side and one on the servers', which
# neither end's interface shows. Large transfers complete both ways, in dnat and fullnat, IPv4 and IPv6.
#
#   far ─1500─ edge ─1280─ client ─1500─ vnf ─1500─ s1 ─1280─ inner ─1500─ deep
source "$(dirname "$0")/../lab/lab.sh"
lab_up
for host in edge far inner deep; do lab_host "$host"; done
for router in client edge s1 inner; do lab_routes "$router"; done
lab_wire client eth1 edge eth0 10.21.0 2001:db8:121
lab_wire edge eth1 far eth0 10.22.0 2001:db8:122
lab_wire s1 eth1 inner eth0 10.31.0 2001:db8:131
lab_wire inner eth1 deep eth0 10.32.0 2001:db8:132
for end in "client eth1" "edge eth0" "s1 eth1" "inner eth0"; do in_ns "${end% *}" ip link set "${end#* }" mtu 1280; done
lab_default edge 10.21.0.1 2001:db8:121::1
lab_default far 10.22.0.1 2001:db8:122::1
lab_default inner 10.31.0.1 2001:db8:131::1
lab_default deep 10.32.0.1 2001:db8:132::1
route() { # HOST NET4 VIA4 NET6 VIA6
    in_ns "$1" ip route add "$2" via "$3"
    in_ns "$1" ip -6 route add "$4" via "$5"
}
route client 10.22.0.0/24 10.21.0.2 2001:db8:122::/64 2001:db8:121::2
route vnf 10.22.0.0/24 10.1.0.2 2001:db8:122::/64 2001:db8:1::2
route s1 10.32.0.0/24 10.31.0.2 2001:db8:132::/64 2001:db8:131::2
route vnf 10.32.0.0/24 10.3.1.2 2001:db8:132::/64 2001:db8:31::2
start_nginx deep
start_digest deep
head -c 6000000 /dev/urandom >"$LAB_DIR/deep/html/bulk"
DIGEST=$(sha256sum "$LAB_DIR/deep/html/bulk" | cut -c -64)
far() { in_ns far "$@"; }

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
    nat_pool: [10.9.0.0/30, "2001:db8:9::/126"]
    services:
      - {name: web, vip: $VIP, port: 80, proto: tcp, mode: $mode, backends: [{name: deep, address: 10.32.0.2}]}
      - {name: digest, vip: $VIP, port: 9000, proto: tcp, mode: $mode, backends: [{name: deep, address: 10.32.0.2}]}
      - {name: web6, vip: "$VIP6", port: 80, proto: tcp, mode: $mode, backends: [{name: deep, address: "2001:db8:132::2"}]}
      - {name: digest6, vip: "$VIP6", port: 9000, proto: tcp, mode: $mode, backends: [{name: deep, address: "2001:db8:132::2"}]}
YAML
    start_evnfd "$LAB_DIR/evnf.yaml"
    for vip in "$VIP" "[$VIP6]"; do
        # What both ends have learned of the path is forgotten first.
        for host in far deep; do in_ns "$host" ip route flush cache; in_ns "$host" ip -6 route flush cache; done
        far curl -sf --max-time 15 -o "$LAB_DIR/bulk" "http://$vip/bulk" || fail "$mode: download from $vip"
        assert_eq "$DIGEST" "$(sha256sum "$LAB_DIR/bulk" | cut -c -64)" "$mode: what came down from $vip"
        assert_eq "$DIGEST" "$(far timeout 20 socat -t 20 - "TCP:$vip:9000" <"$LAB_DIR/deep/html/bulk")" "$mode: what went up to $vip"
        address=${vip//[\[\]]/}
        assert_eq 1280 "$(far ip route get "$address" | sed -n 's/.* mtu \([0-9]*\).*/\1/p')" "$mode: the client's path MTU to $vip"
    done
    (($(rule_packets errors) >= 4)) || fail "$mode: the errors were not related to their connections"
    assert_clean
    stop_evnfd
    rm -f "$LAB_DIR/bulk"
done

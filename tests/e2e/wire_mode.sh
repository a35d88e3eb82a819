#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# forwarding.mode wire: two ports are one cable with a chain in it. Frames pass untouched, ARP and ND too.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1
# The client and s1 as neighbours on the cable.
s1 ip addr add 10.1.0.3/24 dev eth0
s1 ip addr add 2001:db8:1::3/64 dev eth0 nodad
config "$LAB_DIR/evnf.yaml" <<'YAML'
ports:
  - {name: eth0, chain: [fw, dpi]}
  - {name: eth1, chain: [dpi, fw]}
forwarding:
  mode: wire
  wires: [[eth0, eth1]]
plugins:
  fw:
    default: drop
    rules:
      - {name: ping, proto: icmp, action: allow}
      - {name: ping6, proto: icmpv6, action: allow}
      - {name: web, proto: tcp, dport: 80, action: allow}
      - {name: replies, proto: tcp, sport: 80, action: allow}
      - {name: closed, proto: tcp, dport: 8081, action: reject}
  dpi: {}
YAML
start_evnfd "$LAB_DIR/evnf.yaml"

client ip neigh flush dev eth0
# A hop limit of 1 gets through: no router is in between.
client ping -q -c 3 -i 0.2 -W 2 -t 1 10.1.0.3 >/dev/null || fail "no answer to ping over the wire"
client ping -q -c 3 -i 0.2 -W 2 -t 1 2001:db8:1::3 >/dev/null || fail "no answer to ping over the wire, IPv6"
s1_mac=$(s1 ip -j link show eth0 | jq -r '.[0].address')
assert_eq "$s1_mac" "$(client ip -j neigh show 10.1.0.3 | jq -r '.[0].lladdr')" "MAC address that the client sees"
assert_eq s1 "$(client curl -sf --max-time 2 http://10.1.0.3/)" "answer over the wire"
client curl -s --max-time 1 http://10.1.0.3:8080/ && fail "the firewall on the wire lets port 8080 through"
status=0
client curl -s --max-time 2 http://10.1.0.3:8081/ || status=$?
assert_eq 7 "$status" "curl's exit status where the firewall on the wire rejects"
assert_json '[.ports[] | .forward > 0 and .kernel == 0] == [true, true]' "$(ctl stats --json)" "nothing leaks to the VNF's own kernel"
assert_clean

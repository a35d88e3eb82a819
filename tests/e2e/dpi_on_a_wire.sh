#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# dpi alone on a wire: the connection is named, both directions in one flow, and the frames are not touched.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1
# The client and s1 as neighbours on the cable.
s1 ip addr add 10.1.0.3/24 dev eth0
config "$LAB_DIR/evnf.yaml" <<'YAML'
ports:
  - {name: eth0, chain: [dpi]}
  - {name: eth1, chain: [dpi]}
forwarding: {mode: wire, wires: [[eth0, eth1]]}
plugins: {dpi: {}}
YAML
start_evnfd "$LAB_DIR/evnf.yaml"

client ip neigh flush dev eth0
assert_eq s1 "$(client curl -sf --max-time 2 http://10.1.0.3/)" "answer over the wire"
flow() { ctl dpi flows --json | jq '[.[] | select(.dport == 80)]'; }
assert_eventually '[[ $(flow | jq "[.[] | select(.app == \"HTTP\" and .state == \"classified\")] | length") == 1 ]]' "one flow named HTTP"
assert_json '.[0].src == "10.1.0.2" and .[0].packets_out > 3 and .[0].packets_back > 3' "$(flow)" "both directions of the flow"
assert_json '[.ports[] | .packets == .forward and .packets > 0] == [true, true]' "$(ctl stats --json)" "every frame goes on"
s1_mac=$(s1 ip -j link show eth0 | jq -r '.[0].address')
assert_eq "$s1_mac" "$(client ip -j neigh show 10.1.0.3 | jq -r '.[0].lladdr')" "MAC address that the client sees"
assert_clean

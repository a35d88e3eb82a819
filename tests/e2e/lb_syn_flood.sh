#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Five hundred connections to a VIP keep transferring, byte by byte, beside a flood of SYNs from spoofed sources to the
# same VIP, at the rate that the generator reaches: none is lost, and the table keeps within its bounds.
source "$(dirname "$0")/../lab/lab.sh"
source "$(dirname "$0")/../lab/flood.sh"
readonly COUNT=500 SECONDS_OF_FLOOD=${FLOOD_SECONDS:-20} RATE=2000000 CPU=0

# For flood.sh.
# shellcheck disable=SC2034
HALF_OPEN='' FLOOD_TO=$VIP

flood_lab
# Connections are at s1; the flood goes to a service at s2, where XDP drops what arrives before any stack does. Both are of
# one VIP and share lb's table.
config "$LAB_DIR/evnf.yaml" <<YAML
ports: [{name: eth0, chain: [lb]}, {name: eth1, chain: [lb]}, {name: eth2, chain: [lb]}]
plugins:
  lb:
    services:
      - {name: long, vip: $VIP, port: 9000, proto: tcp, backends: [{name: s1, address: $S1}]}
      - {name: flooded, vip: $VIP, port: 80, proto: tcp, backends: [{name: s2, address: $S2}]}
    max_connections: 10000
YAML
start_evnfd "$LAB_DIR/evnf.yaml"
start_connections $COUNT client s1 "$VIP"
lb_tracking() { ctl lb tracking --json; }
# shellcheck disable=SC2016 # jq's
placed() { ctl lb connections --json | jq -c '[.[] | select(.service == "long" and .state == "established") | .client_port] | sort'; }
assert_eventually "(( \$(placed | jq length) == COUNT ))" "$COUNT established connections"
before=$(placed)

start_flood 80 "$RATE" "$CPU"
end=$((SECONDS + SECONDS_OF_FLOOD))
while ((SECONDS < end)); do
    tracking=$(lb_tracking)
    assert_json ".connections == $COUNT and .connections + .openings <= .places" "$tracking" "the table in the flood"
    sleep 1
done
kept=$(placed)
finish_flood
tracking=$(lb_tracking)
printf 'flood: %s\ntable: %s\nmemory of evnfd: %s kB\n' "$FLOOD" "$tracking" "$(awk '/VmRSS/ { print $2 }' "/proc/$EVNFD_PID/status")"
assert_eq "$before" "$kept" "connections that stand, by client port"
# Where the generator outruns s2's queue, the kernel drops some, and counts them as redirect errors.
assert_json '.sent > 500000 and .received > .sent / 2' "$FLOOD" "SYNs pass"
assert_json ".openings > .places / 2 and .replaced > 0 and .opened + .unrecorded >= $(jq .sent <<<"$FLOOD")" "$tracking" "openings are made, and replaced"
assert_json ".kept == $COUNT and .table_full == 0 and .over_limit == 0" "$tracking" "what is kept"

finish_connections
assert_json ".connections == $COUNT and .blocks >= $COUNT * 2 and .broken == []" "$CONNECTIONS" "all connections live"
assert_json '.drops == []' "$(ctl stats --json)" "nothing is dropped"
assert_json '.missed_tail_calls == 0 and .lost_events == 0' "$(ctl stats --json)" "nothing lost by eVNF"

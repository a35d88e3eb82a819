#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Reloads that change a port's hook, each to each other one, under traffic: every packet arrives once and was counted
# once, by the port and by every stage.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
file=$LAB_DIR/evnf.yaml

# Nothing but the stream comes to eth0: no IPv6, no ARP.
client sysctl -qw net.ipv6.conf.all.disable_ipv6=1
client ip neigh replace 10.1.0.1 dev eth0 lladdr "$(vnf ip -j link show eth0 | jq -r '.[0].address')" nud permanent
vnf ip neigh replace 10.1.0.2 dev eth0 lladdr "$(client ip -j link show eth0 | jq -r '.[0].address')" nud permanent
for host in $S1 $S2; do vnf ping -q -c 1 -W 2 "$host" >/dev/null || fail "no way to $host"; done

# hooks HOOK OF-ETH1
hooks() {
    config "$file" <<YAML
ports:
  - {name: eth0, hook: $1, chain: [fw, dpi, lb]}
  - {name: eth1, hook: $2, chain: [lb, dpi, fw]}
  - {name: eth2, chain: [lb, dpi, fw]}
plugins:
  fw:
    default: drop
    rules:
      - {name: kept, proto: udp, dport: [7, 9000], action: allow}
      - {name: left, proto: udp, dport: 9001, action: netfilter}
  dpi: {}
  lb:
    services:
      - {name: echo, vip: $VIP, port: 7, proto: udp, backends: [{name: s1, address: $S1}, {name: s2, address: $S2}]}
YAML
}

hooks native native
start_evnfd "$file"
eth0_packets() { ctl stats --json | jq '.ports[0].packets'; }
start_stream hooks client "s1 s2" "$VIP:7" "$S1:9000" "$S2:9001"
for hook in generic tc native tc generic native auto generic tc auto; do
    for other in native tc; do
        hooks $hook $other
        ctl reload >/dev/null || fail "no reload to hook $hook"
        # The lab's interfaces take native XDP, which auto becomes only where there was no other mode.
        [[ $hook == auto ]] || assert_json ".ports[0].hook == \"$hook\" and .ports[1].hook == \"$other\"" "$(ctl status --json)" "the hooks in use"
        seen=$(eth0_packets)
        assert_eventually '(( $(eth0_packets) > seen + 100 ))' "packets meet hook $hook"
    done
done
finish_stream hooks

stats=$(ctl stats --json)
assert_eq "$SENT" "$(jq '.ports[0].packets' <<<"$stats")" "packets that the port counted"
for stage in fw dpi lb; do
    assert_eq "$SENT" "$(jq --arg name $stage '.stages[] | select(.name == $name) | .packets' <<<"$stats")" "packets that $stage counted"
done
assert_eq "$SENT" $(($(rule_packets kept) + $(rule_packets left))) "packets that fw's rules counted"
assert_clean

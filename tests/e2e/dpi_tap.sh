#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A tap: tc mirrors what the client and s1 say to each other to a port that only listens. dpi names their connection,
# and nothing of the copies reaches the stack or comes back, at XDP and at tc.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1

# A router of its own between client and s1, the VNF; its copies go to the host `watcher`, where eVNF runs.
lab_host watcher
ip link add mirror netns "$LAB-vnf" type veth peer name mirror0 netns "$LAB-watcher"
in_ns watcher sysctl -qw net.ipv6.conf.mirror0.disable_ipv6=1 # it would speak by itself
in_ns watcher ip link set mirror0 up
vnf ip link set mirror up
for interface in eth0 eth1; do
    vnf tc qdisc add dev "$interface" clsact
    vnf tc filter add dev "$interface" ingress protocol all u32 match u32 0 0 action mirred egress mirror dev mirror
done
# Were a copy to reach the stack, it would be routed back, and counted.
lab_routes watcher
in_ns watcher ip addr add 10.9.0.1/24 dev mirror0
in_ns watcher ip route add default via 10.9.0.2
in_ns watcher ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:99 dev mirror0

promiscuity() { in_ns watcher ip -d -j link show mirror0 | jq '.[0].promiscuity'; }
ip_in() { in_ns watcher cat /proc/net/snmp | awk '$1 == "Ip:" && $2 != "Forwarding" { print $4 }'; }
frames_from_tap() { vnf ip -s -j link show mirror | jq '.[0].stats64.rx.packets'; }

listen_at() {
    local hook=$1 port=$2 before_ip before_frames
    config "$LAB_DIR/tap.yaml" <<YAML
ports: [{name: mirror0, hook: $hook, tap: true, chain: [dpi]}]
plugins: {dpi: {}}
YAML
    start_evnfd "$LAB_DIR/tap.yaml" watcher
    assert_eq 1 "$(promiscuity)" "promiscuity while evnfd listens"
    before_ip=$(ip_in) before_frames=$(frames_from_tap)
    client curl -sf --max-time 3 "http://$S1:$port/" >/dev/null || fail "no answer from s1"
    flow() { ctl dpi flows --json | jq --argjson port "$port" '[.[] | select(.dport == $port)]'; }
    assert_eventually '[[ $(flow | jq "[.[] | select(.app == \"HTTP\" and .state == \"classified\")] | length") == 1 ]]' \
        "the mirrored connection is named"
    assert_json '.[0].src == "10.1.0.2" and .[0].dst == "10.3.1.2" and .[0].packets_out > 3 and .[0].packets_back > 3' "$(flow)" \
        "both directions of the connection"
    assert_json '.ports[0].drop == .ports[0].packets and .ports[0].forward + .ports[0].kernel + .ports[0].reply + .ports[0].local == 0' \
        "$(ctl stats --json)" "all copies end in the chain"
    assert_json '[.drops[] | select(.stage == "forwarder" and .reason == "tap" and .packets > 6)] | length == 1' \
        "$(ctl stats --json)" "the reason of the copies' end"
    assert_eq "$before_ip" "$(ip_in)" "IP packets in the stack of the watcher"
    assert_eq "$before_frames" "$(frames_from_tap)" "frames that came out of the tap"
    assert_clean
    ctl detach >/dev/null
    wait_until "! kill -0 $EVNFD_PID 2>/dev/null" 10 || stop_evnfd
    EVNFD_PID=
    assert_eventually '[[ $(promiscuity) == 0 ]]' "promiscuity is over"
}

listen_at native 80
listen_at tc 8080

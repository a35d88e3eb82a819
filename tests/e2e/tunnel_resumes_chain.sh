#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What leaves its chain for netfilter and is routed to an interface without Ethernet header (a tunnel) goes on with its
# chain there: it is counted, dropped and readdressed by the stages that were left.
source "$(dirname "$0")/../lab/lab.sh"
readonly FAR=10.9.0.2 FAR6=2001:db8:9::2 VIP_BY_TUNNEL=10.2.0.9

# tunnel_up: tun0 of the VNF and of s2, tied by datagrams between two processes.
tunnel_up() {
    local number=1 host other
    for host in vnf s2; do
        other=$([[ $host == vnf ]] && echo s2 || echo vnf)
        in_ns "$host" socat -b 65536 "TUN,tun-name=tun0,iff-no-pi" \
            "UNIX-SENDTO:$LAB_DIR/tunnel-$other,bind=$LAB_DIR/tunnel-$host" &
        wait_until "in_ns $host ip link show tun0 >/dev/null 2>&1" 10 || fail "no tun0 in $host"
        in_ns "$host" ip addr add "10.9.0.$number/24" dev tun0
        in_ns "$host" ip addr add "2001:db8:9::$number/64" dev tun0 nodad
        number=$((number + 1))
    done
    # Both ends are there: socat ends when it cannot send.
    for host in vnf s2; do in_ns "$host" ip link set tun0 up; done
    s2 ip route add 10.1.0.0/24 via 10.9.0.1 src "$FAR"
    s2 ip route add 2001:db8:1::/64 dev tun0 src "$FAR6"
}

configuration() {
    cat <<'YAML'
ports:
  - {name: eth0, chain: [fw, dpi, lb, fw2]}
  - {name: eth1, chain: [lb]}
plugins:
  fw: {default: netfilter}
  dpi: {}
  lb: {services: [{name: web, vip: 10.2.0.9, port: 80, proto: tcp, backends: [{name: s1, address: 10.3.1.2}]}]}
  fw2:
    module: fw
    default: next
    rules: [{name: blocked, proto: tcp, dport: 8081, action: drop}]
YAML
}

lab_up
start_nginx s1 s2
configuration | config "$LAB_DIR/evnf.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"
tunnel_up

fw2_blocked() { ctl fw2 rules --json | jq '.[] | select(.name == "blocked") | .packets'; }
# In the middle of a chain; what the kernel itself says to the device of the VIPs (MLD) is none of it.
dropped() { ctl stats --json | jq '[.drops[] | select(.reason != "vip_not_served") | .packets] | add // 0'; }

# It arrives, and dpi knows what it was.
assert_eq s2 "$(client curl -sf --max-time 3 "http://$FAR:8080/")" "answer through the tunnel"
assert_eq s2 "$(client curl -sf --max-time 3 "http://[$FAR6]:8080/")" "answer through the tunnel, IPv6"
flows() { ctl dpi flows --json | jq "[.[] | select(.dport == 8080 and (.dst == \"$FAR\" or .dst == \"$FAR6\"))]"; }
assert_json 'map(.packets > 3 and .bytes > 300) == [true, true]' "$(flows)" "what dpi counts of what left by the tunnel"
assert_json '.ports[0] | .resumed >= 8 and .resumed == .forward' "$(ctl stats --json)" "packets that came back"
assert_eq 0 "$(dropped)" "drops so far"

# A stage behind drops.
client curl -s --max-time 1.5 "http://$FAR:8081/" && fail "port 8081 is open through the tunnel"
blocked=$(fw2_blocked)
((blocked > 0)) || fail "fw2 counted nothing at the tunnel"
assert_eq "$blocked" "$(dropped)" "drops, all by fw2"

# A stage behind readdresses: a VIP with the operator's own route, to a server that is not at the tunnel's end.
vnf ip route replace $VIP_BY_TUNNEL dev tun0
assert_eq s1 "$(client curl -sf --max-time 3 "http://$VIP_BY_TUNNEL/")" "answer of the VIP that is routed to the tunnel"
assert_json '.[0].packets > 3' "$(ctl lb backends --json)" "packets that lb balanced at the tunnel"

# So it is in the next generation, and where the tunnel was there before the daemon.
reload
assert_eq s2 "$(client curl -sf --max-time 3 "http://$FAR:8080/")" "answer through the tunnel after a reload"
stop_evnfd
start_evnfd "$LAB_DIR/evnf.yaml"
blocked=$(fw2_blocked)
client curl -s --max-time 1.5 "http://$FAR:8081/" && fail "port 8081 is open through the tunnel after a restart"
(($(fw2_blocked) > blocked)) || fail "fw2 counted nothing at the tunnel after a restart"

# As a port, such an interface is refused: its packets would not be parsed.
configuration | sed 's/name: eth1,/name: tun0, hook: tc,/' | config "$LAB_DIR/evnf.yaml"
refusal=$(ctl reload 2>&1 || true)
[[ $refusal == *"port tun0: not an Ethernet interface"* ]] || fail "a port without Ethernet: $refusal"
assert_clean

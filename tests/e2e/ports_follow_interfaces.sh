#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What becomes of a port's interface, at XDP and at tc: it goes down and up, its MTU and MAC change, it is renamed, its
# name goes to another one, it is deleted and comes back (as under hotplug). Status tells, the other ports lose nothing,
# and the port works again without a reload.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml

# hook_of_eth2 HOOK: only what meets the chain is answered at 8080, since iptables lets nothing through.
hook_of_eth2() {
    config "$file" <<YAML
ports:
  - {name: eth0, chain: [fw, dpi]}
  - {name: eth1, chain: [dpi, fw]}
  - {name: eth2, hook: $1, chain: [dpi, fw]}
${2:-}
plugins:
  fw:
    default: netfilter
    rules:
      - {name: web, proto: tcp, dport: 8080, action: allow}
      - {name: replies, proto: tcp, sport: 8080, action: allow}
      - {name: stream, proto: udp, dport: 9000, action: allow}
  dpi: {}
YAML
}

port() { ctl status --json | jq -c --arg name "$1" '.ports[] | select(.name == $name) | [.hook, .up]'; }
is() { [[ $(port "$1") == "$2" ]]; }
get() { client curl -sf --max-time "${2:-1}" -o /dev/null "http://$1:8080/"; }
# Packets that eVNF counted at a port: what works without being counted bypasses the chain.
packets() { ctl stats --json | jq --arg name "$1" '.ports[] | select(.name == $name) | .packets'; }
works() {
    local before
    before=$(packets eth2)
    assert_eventually "get $S2" "$1: s2 answers"
    (($(packets eth2) > before)) || fail "$1: eth2 has no chain"
    client curl -sf --max-time 1 "http://$S2:8082/" && fail "$1: the chain does not filter"
    return 0
}
resumes() { [[ $(vnf tc -j filter show dev "$1" egress | jq -r '.[].options.bpf_name // empty') == evnf_resume:* ]]; }

# lab_wire without the routes that the hosts have: the VNF's end as it is after a hotplug.
plug() {
    ip link add "$1" netns "$LAB-vnf" type veth peer name eth0 netns "$LAB-s2"
    lab_interface s2 eth0 10.3.2.2/24 2001:db8:32::2/64
    lab_interface vnf "$1" 10.3.2.1/24 2001:db8:32::1/64
    s2 ip route add default via 10.3.2.1
}
unplug() { vnf ip link del "$1"; }

follow() {
    local hook=$1 up down index
    up="[\"$hook\",true]" down="[\"$hook\",false]"
    hook_of_eth2 "$hook"
    ctl reload >/dev/null || fail "$hook: no reload"
    works "$hook: at first"
    is eth2 "$up" || fail "$hook: status is $(port eth2)"

    vnf ip link set eth2 down
    assert_eventually "is eth2 '$down'" "$hook: down in the status"
    vnf ip link set eth2 up
    vnf ip addr replace 2001:db8:32::1/64 dev eth2 nodad
    assert_eventually "is eth2 '$up'" "$hook: up in the status"
    works "$hook: up again"

    vnf ip link set eth2 mtu 1400
    vnf ip link set eth2 address 02:00:00:00:32:01
    s2 ip neigh flush dev eth0
    works "$hook: another MTU and MAC"
    assert_eq 02:00:00:00:32:01 "$(s2 ip -j neigh show 10.3.2.1 | jq -r '.[0].lladdr')" "$hook: MAC address that s2 sees"

    vnf ip link set eth2 down
    vnf ip link set eth2 name moved
    vnf ip link set moved up
    assert_eventually "grep -q 'eth2: its interface is called moved now' '$EVNFD_LOG'" "$hook: the new name in the log"
    works "$hook: renamed"
    vnf ip link set moved down
    vnf ip link set moved name eth2
    vnf ip link set eth2 up
    works "$hook: renamed back"

    index=$(vnf cat /sys/class/net/eth2/ifindex 2>/dev/null || vnf ip -j link show eth2 | jq '.[0].ifindex')
    unplug eth2
    assert_eventually "is eth2 '[\"none\",false]'" "$hook: gone in the status"
    get "$S1" || fail "$hook: s1 does not answer while eth2 is gone"
    plug eth2
    assert_eventually "is eth2 '$up'" "$hook: back in the status"
    (($(vnf ip -j link show eth2 | jq '.[0].ifindex') != index)) || fail "$hook: the interface has its index still"
    works "$hook: come back"

    # Gone while it is reloaded, and back after it.
    unplug eth2
    assert_eventually "is eth2 '[\"none\",false]'" "$hook: gone in the status"
    ctl reload >/dev/null || fail "$hook: no reload while eth2 is gone"
    plug eth2
    works "$hook: come back after a reload"

    # The name goes to another interface: the first one is a port no longer.
    vnf ip link set eth2 down
    vnf ip link set eth2 name former
    assert_eventually "grep -q 'eth2: its interface is called former now' '$EVNFD_LOG'" "$hook: the new name in the log"
    s2 ip link set eth0 down
    s2 ip link set eth0 name eth9
    plug eth2
    assert_eventually "is eth2 '$up'" "$hook: another interface in the status"
    vnf ip addr flush dev former
    works "$hook: another interface has its name"
    assert_eq null "$(vnf ip -j link show former | jq '.[0].xdp')" "$hook: XDP on what is a port no longer"
    assert_eq "[]" "$(vnf tc -j filter show dev former ingress | jq -c .)" "$hook: filters on what is a port no longer"
    unplug former
    : >"$EVNFD_LOG"
}

for host in $S1 $S2; do vnf ping -q -c 1 -W 2 "$host" >/dev/null || fail "no way to $host"; done
vnf iptables -P FORWARD DROP
hook_of_eth2 native
start_evnfd "$file"
start_stream others client s1 "$S1:9000"
start_stream back s1 client 10.1.0.2:9000
follow native
follow generic
follow tc

# An interface that is no port: packets in the middle of their chain must not slip out there.
vnf ip link add new0 type veth peer name new1
assert_eventually "resumes new0 && resumes new1" "resume filters on new interfaces"
# A port that a reload adds and removes.
hook_of_eth2 tc "  - {name: new0, hook: tc, chain: [fw]}"
ctl reload >/dev/null || fail "no reload that adds a port"
is new0 '["tc",false]' || fail "status of the added port is $(port new0)"
hook_of_eth2 tc
ctl reload >/dev/null || fail "no reload that removes a port"
assert_eq "" "$(port new0)" "status of the removed port"
assert_eq "[]" "$(vnf tc -j filter show dev new0 ingress | jq -c .)" "filters of the removed port"
resumes new0 || fail "the removed port has no resume filter"
unplug new0

finish_stream others
finish_stream back
assert_no_packet_lost

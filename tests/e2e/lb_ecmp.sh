#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Two balancers with one VIP and one seed behind routers that spread the connections. One dies under transfers: the other
# goes on with its connections, each with the server that it had.
#
#                  ┌─ vm1 ─┐              front and back send both directions of a connection to the same balancer: front
#   client ─ front ┤       ├ back ─ s1    hashes the client's address and port as the source, back as the destination
#                  └─ vm2 ─┘       └ s2
source "$(dirname "$0")/../lab/lab.sh"
readonly COUNT=600 SOURCE_FIELDS=0x11 DESTINATION_FIELDS=0x22

ecmp_lab() {
    local host number
    lab_begin
    for host in client front vm1 vm2 back s1 s2; do lab_host "$host"; done
    for host in front vm1 vm2 back; do lab_routes "$host"; done
    lab_wire front eth0 client eth0 10.1.0 2001:db8:1
    for number in 1 2; do
        lab_wire "vm$number" eth0 front "eth$number" "10.11.$number" "2001:db8:11$number"
        lab_wire "vm$number" eth1 back "eth$number" "10.21.$number" "2001:db8:21$number"
        lab_wire back "eth$((number + 2))" "s$number" eth0 "10.3.$number" "2001:db8:3$number"
        lab_default "s$number" "10.3.$number.1" "2001:db8:3$number::1"
        lab_default "vm$number" "10.11.$number.2" "2001:db8:11$number::2"
        in_ns "vm$number" ip route add 10.3.0.0/16 via "10.21.$number.2"
        in_ns "vm$number" ip route add 2001:db8:30::/44 via "2001:db8:21$number::2"
    done
    lab_default client 10.1.0.1 2001:db8:1::1
    spread front "$SOURCE_FIELDS" 11 10.2.0.2 2001:db8:2::2
    spread back "$DESTINATION_FIELDS" 21 10.1.0.0/24 2001:db8:1::/64
}

# spread ROUTER FIELDS NETWORK DESTINATION4 DESTINATION6: by both balancers, those that are alive.
spread() {
    local router=$1 fields=$2 network=$3 family
    for family in ipv4 ipv6; do
        in_ns "$router" sysctl -qw "net.$family.fib_multipath_hash_policy=3" "net.$family.fib_multipath_hash_fields=$fields" \
            "net.$family.conf.all.ignore_routes_with_linkdown=1" "net.$family.conf.eth1.ignore_routes_with_linkdown=1" \
            "net.$family.conf.eth2.ignore_routes_with_linkdown=1"
    done
    in_ns "$router" ip route add "$4" nexthop via "10.$network.1.1" nexthop via "10.$network.2.1"
    in_ns "$router" ip route add "$5" nexthop via "2001:db8:${network}1::1" nexthop via "2001:db8:${network}2::1"
}

# at VM COMMAND…: with that balancer's evnfd.
at() {
    local EVNFD_SOCKET=$LAB_DIR/$1.sock PIN_DIR=$LAB_DIR/bpf/$1
    "${@:2}"
}

start_balancer() {
    config "$LAB_DIR/$1.yaml" <<'YAML'
ports: [{name: eth0, chain: [lb]}, {name: eth1, chain: [lb]}]
plugins:
  lb:
    seed: the same at both
    services:
      - {name: long, vip: 10.2.0.2, port: 9000, proto: tcp, adopt: true, backends: [{name: s1, address: 10.3.1.2}, {name: s2, address: 10.3.2.2}]}
      - name: long6
        vip: 2001:db8:2::2
        port: 9000
        proto: tcp
        adopt: true
        backends: [{name: s1, address: "2001:db8:31::2"}, {name: s2, address: "2001:db8:32::2"}]
YAML
    start_evnfd "$LAB_DIR/$1.yaml" "$1"
}

# placed VM: "PORT BACKEND" of its established connections, sorted; placed_ever VM: of those that are over, too.
placed() { placed_if "$1" '.state == "established"'; }
placed_ever() { placed_if "$1" true; }
placed_if() { at "$1" ctl lb connections --json | jq -r ".[] | select($2) | \"\(.client_port) \(.backend)\"" | sort; }

# carrier VM up|down: as the links of a VM that lives or has died.
carrier() {
    in_ns "$1" ip link set eth0 "$2"
    in_ns "$1" ip link set eth1 "$2"
}

# survive VIP: connections to it, while vm1 dies.
survive() {
    local of_vm1 number broken
    start_connections "$COUNT" client "s1 s2" "$1"
    assert_eventually '(( $(placed vm1 | wc -l) + $(placed vm2 | wc -l) == COUNT ))' "$1: $COUNT established connections"
    of_vm1=$(placed vm1)
    number=$(wc -l <<<"$of_vm1")
    ((number > COUNT / 4 && number < COUNT * 3 / 4)) || fail "$1: vm1 has $number of $COUNT connections"

    carrier vm1 down
    finish_connections
    broken=$(jq '.broken | length' <<<"$CONNECTIONS")
    printf '%s: %d of the %d connections of the balancer that died broke\n' "$1" "$broken" "$number"
    jq -r '.broken[].why' <<<"$CONNECTIONS" | sort | uniq -c
    ((broken * 100 < number)) || fail "$1: $broken of $number connections broke"
    # Where they went, they kept their servers.
    assert_eq "" "$(comm -23 <(echo "$of_vm1") <(placed_ever vm2))" "$1: connections of vm1 that vm2 does not know, or with another server"
    assert_json '.missed_tail_calls == 0 and .lost_events == 0' "$(at vm2 ctl stats --json)" "$1: nothing lost by vm2"
}

for vip in "$VIP" "$VIP6"; do
    ecmp_lab
    for vm in vm1 vm2; do at "$vm" start_balancer "$vm"; done
    survive "$vip"
    lab_remove "$LAB"
done

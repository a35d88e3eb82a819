#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# lb beside its alternatives, two cores for everything.
#
# Web requests by wrk, 36 connections, to two nginx: over kept connections as fast as they go and with a pause before each
# request, and with a new connection for each. The ways stand side by side and take turns, each through a router of its
# own, on veth as containers have it, packets of up to 64 kB with their checksums left to the interfaces:
#   evnf      this product: a VIP, and lb alone in the chain, `hook: tc`
#   haproxy   HAProxy in TCP mode
#   linux     the kernel's routing: each of wrk's threads asks one of the servers
#   spread    the kernel's routing: each of wrk's threads asks both, as with evnf and HAProxy, over a multipath route to an
#             address that both have
# Besides: 99 % of the answers came within, and the time of a CPU that evnfd and HAProxy take for a million requests, in
# user space and in system calls. Without pauses wrk and nginx want all of both cores, and the slowest answers are those
# that a server's turn of the scheduler was waited for; with pauses all subjects answer about as many requests.
#
# Packets by the generator, 64 bytes, one core for everything, generator and receiver included: UDP of 256 flows, and SYNs
# each from another address and port, so that each is a new connection. The subjects again, and
#   bare      an XDP program that asks the FIB and redirects, for each packet, and does nothing else
#   iptables  the kernel's routing, and its DNAT to one server
source "$(dirname "$0")/../lab/lab.sh"
source "$(dirname "$0")/../lab/flood.sh"
source "$(dirname "$0")/samples.sh"

rounds=7 seconds=3
[[ ${1:-} != --quick ]] || rounds=3 seconds=1
# As many SYNs as come in a second fit into the kernel's connection tracking, as it comes, and into lb's table.
readonly CORE=0 FLOWS=256 RATE=10000000 SYN_SECONDS=1 MOST_LOST=0.01
readonly BOTH=10.5.7.2 # an address of both servers
readonly -A URL=([evnf]="http://$VIP/" [haproxy]=http://10.1.8.1/ [linux]=http://10.3.9.2/ [spread]="http://$BOTH/")
readonly -A SERVERS=([evnf]="" [haproxy]="" [linux]="10.3.9.2 10.4.9.2" [spread]="")
readonly -A HEADER=([kept]="Connection: keep-alive" [paced]="Connection: keep-alive" [new]="Connection: close")
readonly -A PAUSE_MS=([kept]="" [paced]=2 [new]="")
declare -A PROCESS

# ---------------------------------------------------------------- web requests

# another_router NAME NUMBER: it has wires of its own to the client and to both servers.
another_router() {
    local name=$1 number=$2
    lab_host "$name"
    lab_routes "$name"
    lab_wire "$name" eth0 client "eth$number" "10.1.$number" "2001:db8:1$number"
    lab_wire "$name" eth1 s1 "eth$number" "10.3.$number" "2001:db8:3$number"
    lab_wire "$name" eth2 s2 "eth$number" "10.4.$number" "2001:db8:4$number"
    client ip route add "10.3.$number.0/24" via "10.1.$number.1"
    client ip route add "10.4.$number.0/24" via "10.1.$number.1"
    s1 ip route add "10.1.$number.0/24" via "10.3.$number.1"
    s2 ip route add "10.1.$number.0/24" via "10.4.$number.1"
}

# spread_over_both ROUTER NUMBER: connections to $BOTH by that router, each to the server that its ports say.
spread_over_both() {
    local router=$1 number=$2 server
    for server in s1 s2; do in_ns "$server" ip addr add "$BOTH/32" dev lo; done
    client ip route add "$BOTH" via "10.1.$number.1"
    in_ns "$router" sysctl -qw net.ipv4.fib_multipath_hash_policy=1
    in_ns "$router" ip route add "$BOTH" nexthop via "10.3.$number.2" nexthop via "10.4.$number.2"
}

web_lab() {
    # shellcheck disable=SC2034 # read by lab.sh
    local LAB_OFFLOADS=on
    lab_up
    another_router spread 7
    spread_over_both spread 7
    another_router haproxy 8
    another_router linux 9
    start_nginx s1 s2
    lb_config tc tcp 80 "$S1" "$S2"
    start_evnfd "$LAB_DIR/bench.yaml"
    sed 's/@ADDRESS@/10.1.8.1/; s/@S1@/10.3.8.2/; s/@S2@/10.4.8.2/' "$LAB_SOURCE/haproxy.cfg" >"$LAB_DIR/haproxy.cfg"
    # No function here: $! must be HAProxy itself.
    nsenter --net="/run/netns/$LAB-haproxy" haproxy -db -f "$LAB_DIR/haproxy.cfg" >"$LAB_DIR/haproxy.log" 2>&1 &
    PROCESS=([evnf]=$EVNFD_PID [haproxy]=$!)
    local subject
    for subject in "${!URL[@]}"; do
        wait_until "client curl -sf --max-time 1 '${URL[$subject]}' >/dev/null" 10 ||
            fail "$subject: no answer; HAProxy says: $(cat "$LAB_DIR/haproxy.log")"
    done
}

# lb_config HOOK PROTOCOL PORT SERVER…
lb_config() {
    local hook=$1 protocol=$2 port=$3 backends
    shift 3
    backends=$(printf '{name: "%s", address: "%s"}, ' $(printf '%s\n' "$@" | sed 'p'))
    config "$LAB_DIR/bench.yaml" <<YAML
ports: [{name: eth0, hook: $hook, chain: [lb]}, {name: eth1, hook: $hook, chain: [lb]}, {name: eth2, hook: $hook, chain: [lb]}]
plugins:
  lb:
    services: [{name: bench, vip: $VIP, port: $port, proto: $protocol, backends: [${backends%, }]}]
YAML
}

# take_turn CASE SUBJECT ROUND: prints the samples.
take_turn() {
    local of=$1 subject=$2 round=$3 process=${PROCESS[$2]:-} before=0 result
    [[ ! $process ]] || before=$(cpu_ns "$process")
    WRK_SERVERS=${SERVERS[$subject]} WRK_PAUSE_MS=${PAUSE_MS[$of]} start_load turn "$seconds" "${URL[$subject]}" -H "${HEADER[$of]}"
    finish_load
    assert_load_clean "$of, $subject"
    result=$(cat "$LAB_DIR/turn.json")
    sample "$of" "$subject" "$round" "$(jq '.requests / .microseconds * 1e3' <<<"$result")" 'k requests/s'
    sample "$of-p99" "$subject" "$round" "$(jq '.p99 / 1e3' <<<"$result")" ms
    [[ ! $process ]] ||
        sample "$of-cpu" "$subject" "$round" "$(($(cpu_ns "$process") - before)) / 1e3 / $REQUESTS" 's of CPU/M requests'
}

measure_web() {
    local round case subject
    web_lab
    for ((round = 1; round <= rounds; round++)); do
        printf '\rweb: round %d of %d ' "$round" "$rounds" >&2
        for case in kept paced new; do
            for subject in linux spread evnf haproxy; do take_turn "$case" "$subject" "$round"; done
        done
    done
    printf '\n' >&2
    assert_clean
    assert_json '.drops == []' "$(ctl stats --json)" "lb drops nothing"
    stop_evnfd
    lab_remove "$LAB"
}

# ---------------------------------------------------------------- packets

# packet_lab CASE SUBJECT: a lab of its own, so that nothing of another subject is left.
packet_lab() {
    local protocol=udp port=7
    [[ $1 != syn-* ]] || protocol=tcp port=80
    flood_lab
    case $2 in
    evnf)
        lb_config native "$protocol" "$port" "$S1"
        start_evnfd "$LAB_DIR/bench.yaml"
        ;;
    iptables) vnf iptables -t nat -A PREROUTING -d "$VIP" -p "$protocol" --dport "$port" -j DNAT --to-destination "$S1" ;;
    esac
}

# send CASE SUBJECT: {"sent":N,"received":N,"seconds":S}
send() {
    local to=$S1 gateway options=()
    [[ $2 != evnf && $2 != iptables ]] || to=$VIP
    [[ $2 != bare ]] || options=(--bare-router "/run/netns/$LAB-vnf")
    gateway=$(vnf ip -j link show eth0 | jq -r '.[0].address')
    options+=(--client "/run/netns/$LAB-client" --server "/run/netns/$LAB-s1" --gateway "$gateway" --to "$to"
        --server-address "$S1" --cpu "$CORE")
    case $1 in
    udp-*) "$EVNF_BUILD/bin/evnf_pps" "${options[@]}" --port 7 --flows "$FLOWS" --seconds "$seconds" ;;
    syn-*) "$EVNF_BUILD/bin/evnf_flood" "${options[@]}" --port 80 --rate "$RATE" --seconds "$SYN_SECONDS" ;;
    esac
}

# check_evnf CASE COUNTS: counters prove that the packets took the way that the case claims.
check_evnf() {
    local of=$1 received
    received=$(jq .received <<<"$2")
    assert_clean
    assert_json ".drops == [] and .ports[0].forward + 100 >= $received and .ports[0].kernel < 100" "$(ctl stats --json)" "$of: eVNF forwards all"
    assert_json ".[0].packets >= $received" "$(ctl lb backends --json)" "$of: lb balances all"
}

# send_turn CASE SUBJECT ROUND: prints the sample.
send_turn() {
    local of=$1 subject=$2 round=$3 counts
    packet_lab "$of" "$subject"
    counts=$(send "$of" "$subject")
    assert_json ".sent > 0 and .sent - .received <= .sent * $MOST_LOST" "$counts" "$of, $subject: nearly all packets arrive"
    [[ $subject != evnf ]] || { check_evnf "$of" "$counts" && stop_evnfd; }
    lab_remove "$LAB"
    sample "$of" "$subject" "$round" "$(jq '.received / .seconds / 1e6' <<<"$counts")" Mpps
}

measure_packets() {
    local round case subject
    for ((round = 1; round <= rounds; round++)); do
        printf '\rpackets: round %d of %d ' "$round" "$rounds" >&2
        for case in udp-64B syn-64B; do
            for subject in bare evnf iptables linux; do send_turn "$case" "$subject" "$round"; done
        done
    done
    printf '\n' >&2
}

measure_web
measure_packets

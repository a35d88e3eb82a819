#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Bits a second through a router on veth as containers have it: one TCP connection of iperf3, packets of up to 64 kB with
# their checksums left to the interfaces.
#   evnf      this product, `hook: tc`: the forwarder alone; fw, dpi and lb with the connection allowed; the same to a VIP
#   linux     the kernel's routing: a second router between the same client and server
# Two connections stand side by side and take turns of a fraction of a second, since what else the machine does changes
# their speed by 20 %, but slowly. Connections differ as much, so there is a new pair after every few rounds.
# shellcheck disable=SC2034 # read by lab.sh
LAB_OFFLOADS=on
source "$(dirname "$0")/../lab/lab.sh"

rounds=96
[[ ${1:-} != --quick ]] || rounds=24
readonly CLIENT_CORE=0 SERVER_CORE=1 MTU=1500 TURN=0.25 SETTLE=0.1 ROUNDS_OF_A_PAIR=4
readonly CASES=(tc-forwarder tc-chain tc-vip)
readonly -A PORT=([evnf]=5201 [linux]=5202) INTERFACE=([evnf]=eth0 [linux]=eth1)
declare -A CLIENT RECEIVED=([evnf]=0 [linux]=0)

# configuration CASE
configuration() {
    local chain=fw,dpi,lb port=${PORT[evnf]}
    [[ $1 != tc-forwarder ]] || chain=
    printf 'ports:\n  - {name: eth0, hook: tc, chain: [%s]}\n  - {name: eth1, hook: tc, chain: [%s]}\n' "$chain" "$chain"
    [[ $chain ]] || return 0
    cat <<YAML
plugins:
  fw:
    default: drop
    rules:
      - {name: iperf, dst: [$S1, $VIP], proto: tcp, dport: $port, action: allow}
      - {name: replies, src: [$S1, $VIP], proto: tcp, sport: $port, action: allow}
  dpi: {}
  lb: {services: [{name: iperf, vip: $VIP, port: $port, proto: tcp, backends: [{name: s1, address: $S1}]}]}
YAML
}

# The second router, and the servers' ends of both ways.
linux_router() {
    lab_host linux
    lab_routes linux
    lab_wire linux eth0 client eth1 10.1.9 2001:db8:19
    lab_wire linux eth1 s1 eth1 10.3.9 2001:db8:39
    client ip route add 10.3.9.0/24 via 10.1.9.1
    s1 ip route add 10.1.9.0/24 via 10.3.9.1
    # A connection that has waited for its turn goes on as fast as it was, and none is paced.
    client sysctl -qw net.ipv4.tcp_slow_start_after_idle=0 net.ipv4.tcp_congestion_control=reno
    local port
    for port in "${PORT[@]}"; do
        s1 taskset --cpu-list "$SERVER_CORE" iperf3 --server --port "$port" >/dev/null 2>&1 &
    done
}

# connect SUBJECT TO: leaves the connection stopped, once it carries bytes.
connect() {
    local subject=$1 to=$2 before
    before=$(received "$subject")
    wait_until "s1 ss -Hltn sport = :${PORT[$subject]} | grep -q LISTEN" 10 || fail "no iperf3 at ${PORT[$subject]}"
    nsenter --net="/run/netns/$LAB-client" taskset --cpu-list "$CLIENT_CORE" \
        iperf3 --client "$to" --port "${PORT[$subject]}" --time 3600 >"$LAB_DIR/$subject.iperf3" 2>&1 &
    CLIENT[$subject]=$!
    wait_until "(( \$(received $subject) > $before + 1000000 ))" 10 || fail "$subject: iperf3: $(cat "$LAB_DIR/$subject.iperf3")"
    kill -STOP "${CLIENT[$subject]}"
}

disconnect() {
    local subject
    for subject in "$@"; do
        kill -CONT "${CLIENT[$subject]}"
        kill -INT "${CLIENT[$subject]}"
        wait "${CLIENT[$subject]}" || true # iperf3 says 1 when it is interrupted
    done
}

# Bytes of frames that have come to the server by that way.
received() { s1 awk -v interface="${INTERFACE[$1]}:" '$1 == interface { print $2 }' /proc/net/dev; }

# take_turn CASE SUBJECT ROUND: prints the sample.
take_turn() {
    local of=$1 subject=$2 round=$3 bytes from until
    kill -CONT "${CLIENT[$subject]}"
    sleep "$SETTLE"
    bytes=$(received "$subject") from=${EPOCHREALTIME/./}
    sleep "$TURN"
    bytes=$(($(received "$subject") - bytes)) until=${EPOCHREALTIME/./}
    kill -STOP "${CLIENT[$subject]}"
    ((RECEIVED[$subject] += bytes))
    jq -nc --arg case "$of" --arg subject "$subject" --argjson round "$round" --argjson bytes "$bytes" \
        --argjson us $((until - from)) '{case: $case, subject: $subject, round: $round, value: ($bytes * 8 / $us / 1e3)}'
}

# check_evnf CASE BYTES: counters prove that the bytes took the way that the case claims, in packets that were not cut.
check_evnf() {
    local of=$1 bytes=$2 stats
    stats=$(ctl stats --json)
    assert_clean
    assert_json ".drops == [] and (.ports[0] | .bytes >= $bytes and .bytes / .packets > 4 * $MTU and .kernel < .packets / 100)" \
        "$stats" "$of: eVNF forwards all"
    [[ $of != tc-chain && $of != tc-vip ]] ||
        assert_json "map(select(.dport == ${PORT[evnf]}) | .bytes) | add >= $bytes" "$(ctl dpi flows --json)" "$of: dpi counts all"
    [[ $of != tc-vip ]] || assert_json ".[0].bytes >= $bytes" "$(ctl lb backends --json)" "$of: lb balances all"
}

measure() {
    local of=$1 to=$S1 round
    [[ $of != tc-vip ]] || to=$VIP
    configuration "$of" | config "$LAB_DIR/bench.yaml"
    start_evnfd "$LAB_DIR/bench.yaml"
    for ((round = 1; round <= rounds; round++)); do
        printf '\r%s: round %d of %d ' "$of" "$round" "$rounds" >&2
        if ((round % ROUNDS_OF_A_PAIR == 1)); then
            RECEIVED=([evnf]=0 [linux]=0)
            connect evnf "$to"
            connect linux 10.3.9.2
        fi
        take_turn "$of" evnf "$round"
        take_turn "$of" linux "$round"
        ((round % ROUNDS_OF_A_PAIR)) && continue
        check_evnf "$of" "${RECEIVED[evnf]}"
        disconnect evnf linux
    done
    printf '\n' >&2
    ctl detach >/dev/null
    wait "$EVNFD_PID" || fail "evnfd ended with $?"
}

lab_up
linux_router
for case in "${CASES[@]}"; do measure "$case"; done

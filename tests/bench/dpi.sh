#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Figure 7 of the paper: 4 equal flows of UDP packets of 1500 bytes, 0 to 4 of which are elephants, as their destination ports
# say by a protocols file. What arrives in Gbit/s of IP packets, what of a core the slow path takes meanwhile, and how many
# of the packets that it was to have it did not get.
#   evnf             chain [fw, dpi]: fw's only rule accepts, dpi takes elephants off the slow path
#   evnf-no-offload  the same, but all packets of all flows are copied to the slow path for as long as they last
#   legacy           the kernel's routing, iptables with the same rule, and ndpiReader with the same protocols file, which
#                    captures at the port where the packets come in
# Two cores, for all subjects alike: one has the generator and, behind each batch, the router with its copying and the
# receiver; the other has the slow path, evnfd or ndpiReader. The subjects take turns, each in a lab of its own. The receiver
# drops packets where that is cheapest for the subject: at XDP, or at tc those of the kernel's routing.
source "$(dirname "$0")/../lab/lab.sh"
source "$(dirname "$0")/samples.sh"

rounds=7 seconds=2
[[ ${1:-} != --quick ]] || rounds=3 seconds=0.5
readonly FAST_CORE=0 SLOW_CORE=1 FLOWS=4 PACKET=1500 FIRST_ELEPHANT=9001 MOST_LOST=0.01
readonly OFFLOAD='{mode: elephants, apps: [Elephant1, Elephant2, Elephant3, Elephant4]}'

protocols() {
    local number
    for ((number = 1; number <= FLOWS; number++)); do
        printf 'udp:%d@Elephant%d\n' $((FIRST_ELEPHANT + number - 1)) $number
    done
}

# start_evnf OFFLOAD: sets SLOW_PATH, as does start_legacy.
start_evnf() {
    config "$LAB_DIR/bench.yaml" <<YAML
ports: [{name: eth0, chain: [fw, dpi]}, {name: eth1, chain: []}]
plugins:
  fw: {default: drop, rules: [{name: last, dst: 10.0.0.0/8, proto: udp, action: allow}]}
  dpi: {protocols_file: protocols, offload: $1, copy_limit: 10000000/s}
YAML
    start_evnfd "$LAB_DIR/bench.yaml"
    taskset --all-tasks --pid --cpu-list "$SLOW_CORE" "$EVNFD_PID" >/dev/null
    SLOW_PATH=$EVNFD_PID
}

start_legacy() {
    printf '*filter\n:FORWARD DROP\n-A FORWARD -d 10.0.0.0/8 -p udp -j ACCEPT\nCOMMIT\n' | vnf iptables-restore
    # No function here: $! must be ndpiReader itself.
    nsenter --net="/run/netns/$LAB-vnf" taskset --cpu-list "$SLOW_CORE" \
        ndpiReader -i eth0 -p "$LAB_DIR/protocols" >"$LAB_DIR/ndpireader" 2>&1 &
    SLOW_PATH=$!
    assert_eventually 'vnf awk "END { exit NR < 2 }" /proc/net/packet' "ndpiReader captures"
}

# send ELEPHANTS SUBJECT: {"sent":N,"received":N,"seconds":S,"cpu_seconds":S}
send() {
    "$EVNF_BUILD/bin/evnf_pps" --cpu "$FAST_CORE" --process "$SLOW_PATH" \
        --client "/run/netns/$LAB-client" --server "/run/netns/$LAB-s1" --to "$S1" --server-address "$S1" \
        --gateway "$(vnf ip -j link show eth0 | jq -r '.[0].address')" --frame $((PACKET + 14)) --seconds "$seconds" \
        --receive-at-tc "$([[ $2 == legacy ]] && echo true || echo false)" --flows "$FLOWS" --vary-dport true --port $((FIRST_ELEPHANT + FLOWS - $1))
}

# finish_evnf ELEPHANTS SUBJECT COUNTS: sets LOST, the share of packets that the slow path was to have and did not get, as jq
# reckons it. Counters prove that the packets took the way that the case claims.
finish_evnf() {
    local of="$1 elephants, $2" counts=$3 stats flows
    stats=$(ctl stats --json) flows=$(ctl dpi flows --json)
    assert_json '.missed_tail_calls == 0 and .redirect_errors == 0 and .drops == []' "$stats" "$of: no packet is lost by eVNF"
    assert_json ".ports[0].forward >= $(jq .received <<<"$counts") and .ports[0].kernel < 100" "$stats" "$of: eVNF forwards all"
    assert_json "map(select(.state == \"classified\" and (.app | startswith(\"Elephant\")))) | length == $1" "$flows" \
        "$of: elephants"
    assert_json "map(select(.state == \"classified\" or .state == \"gave_up\")) | length == $FLOWS" "$flows" "$of: flows"
    LOST=$(ctl dpi status --json | jq .lost_copies)
    if [[ $2 == evnf ]]; then
        assert_json "map(select(.offloaded)) | length == $1" "$flows" "$of: flows that are off the slow path"
        assert_eq 0 "$LOST" "$of: lost copies"
    fi
    LOST+=" / $(jq '.ports[0].packets' <<<"$stats")"
    stop_evnfd
}

finish_legacy() {
    local arrived captured
    arrived=$(vnf awk '$1 == "eth0:" { print $3 }' /proc/net/dev)
    kill -INT "$SLOW_PATH"
    wait "$SLOW_PATH" || fail "ndpiReader: $(cat "$LAB_DIR/ndpireader")"
    (($(grep -c 'Elephant[1-4]  *packets' "$LAB_DIR/ndpireader") == $1)) ||
        fail "$1 elephants, legacy: $(cat "$LAB_DIR/ndpireader")"
    captured=$(awk '/IP packets:/ { print $3; exit }' "$LAB_DIR/ndpireader")
    LOST="$((arrived > captured ? arrived - captured : 0)) / $arrived"
}

# take_turn ELEPHANTS SUBJECT ROUND: in a lab of its own, so that nothing of another subject is left. Prints the samples.
take_turn() {
    local elephants=$1 subject=$2 round=$3 of counts
    of=$((100 * elephants / FLOWS))-elephants
    lab_up
    # Off and on again: the client's end went up first and does not know yet that it may send frames of XDP.
    vnf ethtool -K eth0 gro off
    vnf ethtool -K eth0 gro on
    client ping -q -c 1 -W 2 "$S1" >/dev/null || fail "no way from the client to s1"
    protocols >"$LAB_DIR/protocols"
    case $subject in
    evnf) start_evnf "$OFFLOAD" ;;
    evnf-no-offload) start_evnf '{mode: none}' ;;
    legacy) start_legacy ;;
    esac
    counts=$(send "$elephants" "$subject")
    assert_json ".sent > 0 and .sent - .received <= .sent * $MOST_LOST" "$counts" "$of, $subject: nearly all packets arrive"
    "finish_${subject%-no-offload}" "$elephants" "$subject" "$counts"
    lab_remove "$LAB"
    sample "$of" "$subject" "$round" "$counts | .received * $PACKET * 8 / .seconds / 1e9" Gbit/s
    sample "$of-packets" "$subject" "$round" "$counts | .received / .seconds / 1e6" Mpps
    sample "$of-cpu" "$subject" "$round" "$counts | .cpu_seconds / .seconds * 100" '% of a core'
    sample "$of-lost" "$subject" "$round" "$LOST * 100" '% of packets'
}

for ((round = 1; round <= rounds; round++)); do
    printf 'dpi: round %d of %d\n' "$round" "$rounds" >&2
    for ((elephants = 0; elephants <= FLOWS; elephants++)); do
        for subject in legacy evnf evnf-no-offload; do take_turn $elephants $subject $round; done
    done
done

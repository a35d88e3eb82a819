#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Bits a second through the VNF of the lab as containers have it: one TCP connection of iperf3 over veth, packets of up
# to 64 kB with their checksums left to the interfaces. All turns are taken in one lab, each subject next to its peer.
#   evnf      this product, `hook: tc`: the forwarder alone; fw, dpi and lb with the connection allowed; the same to a VIP
#   linux     the kernel's routing, with nothing of eVNF attached
# shellcheck disable=SC2034 # read by lab.sh
LAB_OFFLOADS=on
source "$(dirname "$0")/../lab/lab.sh"

rounds=9 seconds=2
[[ ${1:-} != --quick ]] || rounds=3 seconds=1
readonly CLIENT_CORE=0 SERVER_CORE=1 PORT=5201 MTU=1500 WARM_UP=1
readonly CASES=(tc-forwarder tc-chain tc-vip)

# configuration CASE
configuration() {
    local chain=fw,dpi,lb
    [[ $1 != tc-forwarder ]] || chain=
    printf 'ports:\n  - {name: eth0, hook: tc, chain: [%s]}\n  - {name: eth1, hook: tc, chain: [%s]}\n' "$chain" "$chain"
    [[ $chain ]] || return 0
    cat <<YAML
plugins:
  fw:
    default: drop
    rules:
      - {name: iperf, dst: [$S1, $VIP], proto: tcp, dport: $PORT, action: allow}
      - {name: replies, src: [$S1, $VIP], proto: tcp, sport: $PORT, action: allow}
  dpi: {}
  lb: {services: [{name: iperf, vip: $VIP, port: $PORT, proto: tcp, backends: [{name: s1, address: $S1}]}]}
YAML
}

# send TO SECONDS: the report of iperf3.
send() {
    client taskset --cpu-list "$CLIENT_CORE" timeout 30 iperf3 --client "$1" --port "$PORT" --time "$2" --json
}

# check_evnf CASE BYTES: counters prove that the bytes took the way that the case claims, in packets that were not cut.
check_evnf() {
    local of=$1 bytes=$2 stats
    stats=$(ctl stats --json)
    assert_clean
    assert_json ".drops == [] and (.ports[0] | .bytes >= $bytes and .bytes / .packets > 4 * $MTU and .kernel < .packets / 100)" \
        "$stats" "$of: eVNF forwards all"
    [[ $of != tc-chain && $of != tc-vip ]] ||
        assert_json "map(select(.dport == $PORT) | .bytes) | add >= $bytes" "$(ctl dpi flows --json)" "$of: dpi counts all"
    [[ $of != tc-vip ]] || assert_json ".[0].bytes >= $bytes" "$(ctl lb backends --json)" "$of: lb balances all"
}

# take_turn CASE SUBJECT ROUND: prints the sample.
take_turn() {
    local of=$1 subject=$2 round=$3 to=$S1 report
    if [[ $subject == evnf ]]; then
        configuration "$of" | config "$LAB_DIR/bench.yaml"
        start_evnfd "$LAB_DIR/bench.yaml"
        [[ $of != tc-vip ]] || to=$VIP
    fi
    report=$(send "$to" "$seconds") || fail "$of, $subject: iperf3: $report"
    if [[ $subject == evnf ]]; then
        check_evnf "$of" "$(jq .end.sum_received.bytes <<<"$report")"
        ctl detach >/dev/null
        wait "$EVNFD_PID" || fail "evnfd ended with $?"
    fi
    jq -c --arg case "$of" --arg subject "$subject" --argjson round "$round" \
        '{case: $case, subject: $subject, round: $round, value: (.end.sum_received.bits_per_second / 1e9)}' <<<"$report"
}

lab_up
s1 taskset --cpu-list "$SERVER_CORE" iperf3 --server --port "$PORT" >/dev/null &
wait_until "send $S1 $WARM_UP >/dev/null 2>&1" 10 || fail "no way from the client to iperf3 on s1"
for ((round = 1; round <= rounds; round++)); do
    printf 'tc: round %d of %d\n' "$round" "$rounds" >&2
    for case in "${CASES[@]}"; do
        take_turn "$case" evnf "$round"
        take_turn "$case" linux "$round"
    done
done

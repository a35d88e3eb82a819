#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A flow of iperf3 beside a SYN flood, through a stateful fw alone.
#   evnf      while SYNs come, each from another address and port, to a port that is allowed or to one that is denied
#   no-flood  the same connection, in turn
# All of it shares two cores: iperf3, the flow's packets, and on both cores half of the flood, which is made, judged and
# received there. So the flow is paced: at a rate that is small beside what the cores carry, it slows down only when fw loses,
# delays or forgets it. The flood goes to another server, where XDP drops it, so that no stack is measured.
# Besides: what came to fw of the flood, and the flow's segments that were sent again, as medians of the rounds; and the
# entries of half-open connections behind each flood.
source "$(dirname "$0")/../lab/lab.sh"
source "$(dirname "$0")/../lab/flood.sh"
source "$(dirname "$0")/samples.sh"

rounds=7 seconds=3
[[ ${1:-} != --quick ]] || rounds=3 seconds=1
readonly BITRATE=200M RATE=1020000 CPUS=(0 1) MAX_HALF_OPEN=262144
readonly -A PORT=([allowed]=$ALLOWED_PORT [denied]=$DENIED_PORT)

now_us() { echo "${EPOCHREALTIME/./}"; }

# watch_flow CASE SUBJECT ROUND: prints the sample.
watch_flow() {
    local bytes from
    bytes=$(flow_bytes) from=$(now_us)
    sleep "$seconds"
    bytes=$(($(flow_bytes) - bytes))
    sample "$1" "$2" "$3" "$bytes * 8 / $(($(now_us) - from))"
}

# flood CASE ROUND: a turn with a flood that has filled its table.
flood() {
    local of=$1 round=$2 packets from again
    packets=$(rule_packets "$of")
    start_flood "${PORT[$of]}" "$RATE" "${CPUS[@]}"
    assert_eventually "(( \$(rule_packets $of) > packets + MAX_HALF_OPEN ))" "$of: the flood comes"
    packets=$(rule_packets "$of") from=$(now_us) again=$(retransmitted)
    watch_flow "$of" evnf "$round"
    packets=$(($(rule_packets "$of") - packets))
    sample "$of-flood" evnf "$round" "$packets / $(($(now_us) - from))" Mpps
    sample "$of-sent-again" evnf "$round" "$(($(retransmitted) - again))" segments
    finish_flood
    sample "$of-half-open" evnf "$round" "$(jq .half_open <<<"$FLOOD")" entries
}

# check CASE: counters prove what the case claims.
check() {
    local of=$1 drops="[]"
    assert_flow_kept "$of"
    assert_json ".half_open <= $MAX_HALF_OPEN" "$FLOOD" "$of: half-open connections keep within their bound"
    [[ $of == denied ]] ||
        assert_json ".received >= .sent * 0.99 and .half_open > $MAX_HALF_OPEN * 0.9" "$FLOOD" "$of: the SYNs pass"
    [[ $of == allowed ]] || drops="[{stage: \"fw\", reason: \"rule\", packets: $(rule_packets denied)}]"
    assert_json ".drops == $drops" "$(ctl stats --json)" "$of: fw drops what it is to drop"
    assert_json '.moved == 2 and .refused == 0' "$(ctl fw tracking --json)" "$of: no connection but the flow's two is established"
    assert_clean
}

measure() {
    local of=$1 round
    flood_config "max_half_open: $MAX_HALF_OPEN" | config "$LAB_DIR/bench.yaml"
    start_evnfd "$LAB_DIR/bench.yaml"
    start_flow "$BITRATE" "${CPUS[@]}"
    for ((round = 1; round <= rounds; round++)); do
        printf '\r%s: round %d of %d ' "$of" "$round" "$rounds" >&2
        watch_flow "$of" no-flood "$round"
        flood "$of" "$round"
    done
    printf '\n' >&2
    check "$of"
    finish_flow
    stop_evnfd
}

# tell_rate CASE SAMPLES: where the median of the floods is not what they are named after.
tell_rate() {
    local rate
    rate=$(jq -es '[.[] | select(.unit == "Mpps").value] | sort | .[length / 2 | floor]' "$2")
    jq -en "$rate >= 1" >/dev/null ||
        printf '%s: %.2f million SYNs a second came to fw, not a million: these CPUs send and carry no more\n' "$1" "$rate" >&2
}

for case in allowed denied; do
    flood_lab
    measure "$case" >"$LAB_DIR/samples"
    tell_rate "$case" "$LAB_DIR/samples"
    cat "$LAB_DIR/samples"
    lab_remove "$LAB"
done

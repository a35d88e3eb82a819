#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# dpi with many flows, half of them UDP with payload, half SYNs that nobody answers.
#   held      a million at once, with 3 packets each and then with 9: what they take of memory, in the maps
#             of dpi with the room that is left, for each of all flows; in evnfd for each with payload, first while nDPI inspects
#             them all, then with a verdict on all.
#   new       100,000 new ones a second, of 3 packets each: every packet arrives; copies and entries that could not be made are
#             counted, and all packets are in the records of applications or were counted as untracked.
# One core sends, and runs the router and the receiver behind each batch; the other has evnfd.
source "$(dirname "$0")/../lab/lab.sh"
source "$(dirname "$0")/../lab/flood.sh"
source "$(dirname "$0")/samples.sh"

seconds=30
[[ ${1:-} != --quick ]] || seconds=5
readonly FAST_CORE=0 SLOW_CORE=1 RATE=300000 HELD=1000000 MAX_FLOWS=2000000 NEW_PER_SECOND=100000 IN_A_ROW=3

# start IDLE-TIMEOUT
start() {
    flood_lab
    config "$LAB_DIR/bench.yaml" <<YAML
ports: [{name: eth0, chain: [dpi]}, {name: eth2, chain: []}]
plugins: {dpi: {max_flows: $MAX_FLOWS, idle_timeout: {tcp: $1, udp: $1}}}
YAML
    start_evnfd "$LAB_DIR/bench.yaml"
    taskset --all-tasks --pid --cpu-list "$SLOW_CORE" "$EVNFD_PID" >/dev/null
}

# send FLOWS IN-A-ROW PACKETS: {"sent":N,"received":N,"seconds":S}; every packet arrives.
send() {
    local counts
    counts=$("$EVNF_BUILD/bin/evnf_dpi_flows" --cpu "$FAST_CORE" --client "/run/netns/$LAB-client" --server "/run/netns/$LAB-s2" \
        --gateway "$(vnf ip -j link show eth0 | jq -r '.[0].address')" --to "$S2" \
        --rate "$RATE" --flows "$1" --in-a-row "$2" --packets "$3")
    assert_json ".sent == $3 and .received == .sent" "$counts" "packets of $1 flows arrive"
    printf '%s' "$counts"
}

# What evnfd has of memory for itself, without what it sees of the kernel's maps.
own_bytes() { awk '/^RssAnon/ { print $2 * 1024 }' "/proc/$EVNFD_PID/status"; }

kernel_bytes() {
    local map
    for map in "$PIN_DIR"/state/dpi/*; do bpftool --json map show pinned "$map"; done | jq -s 'map(.bytes_memlock) | add'
}

# status KEY
status() { ctl dpi status --json | jq ".$1"; }

# memory CASE SUBJECT BYTES FLOWS
memory() {
    sample "held-$1" "$2" 1 "$3 / $4" bytes/flow
    sample "held-$1-memory" "$2" 1 "$3 / 1e6" MB
}

held() {
    local empty inspected known
    start 10m
    empty=$(own_bytes)
    send $HELD 1 $((3 * HELD)) >/dev/null
    assert_eventually "(( \$(status inspected_flows) >= HELD / 2 - \$(status lost_copies) ))" "the worker is through"
    inspected=$(own_bytes)
    sample held-inspections evnf 1 "$(status inspections)" flows
    send $HELD 1 $((6 * HELD)) >/dev/null
    assert_eventually "(( \$(status inspections) <= \$(status lost_copies) ))" "verdicts on all"
    known=$(own_bytes)
    sample held evnf 1 "$(status flows)" flows
    sample held-lost-copies evnf 1 "$(status lost_copies)" copies
    sample held-untracked evnf 1 "$(status untracked_packets)" packets
    memory kernel kernel "$(kernel_bytes)" $HELD
    memory inspected evnf $((inspected - empty)) $((HELD / 2))
    memory known evnf $((known - empty)) $((HELD / 2))
    assert_eq "$HELD" "$(status flows)" "flows that are held"
    finish
}

# finish: nothing was lost but copies.
finish() {
    assert_no_packet_lost
    assert_json '.drops == []' "$(ctl stats --json)" "nothing is dropped"
    stop_evnfd
    lab_remove "$LAB"
}

new() {
    local flows=$((NEW_PER_SECOND * seconds)) counts cpu counted
    start 3s
    cpu=$(cpu_ns "$EVNFD_PID")
    counts=$(send $flows $IN_A_ROW $((IN_A_ROW * flows)))
    cpu=$(($(cpu_ns "$EVNFD_PID") - cpu))
    sample new evnf 1 "$counts | $flows / .seconds" flows/s
    sample new-lost evnf 1 "$counts | .sent - .received" packets
    sample new-untracked evnf 1 "$(status untracked_packets)" packets
    sample new-evicted evnf 1 "$(status evicted_flows)" flows
    sample new-lost-copies evnf 1 "$(status lost_copies)" copies
    sample new-cpu evnf 1 "$counts | $cpu / .seconds / 1e7" '% of a core'
    counted=$(ctl stats --json | jq '.stages[] | select(.name == "dpi").packets')
    assert_json "map(.packets) | add + $(status untracked_packets) == $counted" "$(ctl dpi apps --json)" \
        "every packet is in one record"
    finish
}

held
new

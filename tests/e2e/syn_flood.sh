#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A flow goes on beside a flood of SYNs, to an allowed port and to a denied one: its connections stay known, half-open
# ones keep within their bound, nothing of either is lost and all is counted.
source "$(dirname "$0")/../lab/lab.sh"
source "$(dirname "$0")/../lab/flood.sh"
readonly MAX_HALF_OPEN=16384 SYNS=300000 RATE=200000 CPU=0

flood_lab
flood_config "max_half_open: $MAX_HALF_OPEN" | config "$LAB_DIR/evnf.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"
start_flow 50M "$CPU" "$CPU"
assert_eq 2 "$(tracking moved)" "connections that became established"
opened=$(tracking opened)

# flood RULE PORT: sets FLOOD; the flow got on meanwhile.
flood() {
    local before
    before=$(flow_bytes)
    start_flood "$2" "$RATE" "$CPU"
    assert_eventually "(( \$(rule_packets $1) >= SYNS ))" "$SYNS SYNs come to the rule '$1'"
    finish_flood
    (($(flow_bytes) > before)) || fail "the flow stands still beside a flood to the rule '$1'"
    assert_flow_kept "a flood to the rule '$1'"
    assert_eq "$(jq .sent <<<"$FLOOD")" "$(rule_packets "$1")" "SYNs that the rule '$1' counted"
}

flood allowed "$ALLOWED_PORT"
assert_json '.received == .sent' "$FLOOD" "SYNs that are allowed arrive"
# The kernel keeps some entries free for each CPU.
assert_json ".half_open <= $MAX_HALF_OPEN and .half_open > $MAX_HALF_OPEN * 0.9" "$FLOOD" "half-open connections are at their bound"
assert_eq $((opened + $(jq .sent <<<"$FLOOD"))) "$(tracking opened)" "half-open connections that were made, one for each SYN"
opened=$(tracking opened)

flood denied "$DENIED_PORT"
assert_json '.received == 0' "$FLOOD" "SYNs that are denied do not arrive"
assert_eq "$opened" "$(tracking opened)" "half-open connections made by denied SYNs and before"

assert_json '.moved == 2 and .refused == 0' "$(ctl fw tracking --json)" "no connection but the flow's is established"
assert_json ".drops == [{stage: \"fw\", reason: \"rule\", packets: $(rule_packets denied)}]" "$(ctl stats --json)" \
    "what was dropped is what was denied"
assert_clean
finish_flow

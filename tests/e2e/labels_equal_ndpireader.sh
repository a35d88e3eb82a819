#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# --replay names the flows of a capture as ndpiReader does: HTTP and TLS recorded in the lab, and the captures of
# the folder EVNF_CAPTURES where that is set.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2

record() {
    client tcpdump -q -U -i eth0 -w "$LAB_DIR/lab.pcap" tcp 2>"$LAB_DIR/tcpdump.log" &
    local tcpdump=$!
    wait_until '[[ -s $LAB_DIR/tcpdump.log ]]' 5 || fail "tcpdump does not begin"
    client curl -sf --max-time 3 "http://$S1:8080/" >/dev/null || fail "no answer over HTTP"
    client curl -skf --max-time 3 --resolve "shop.example:443:$S2" https://shop.example/ >/dev/null || fail "no answer over TLS"
    wait_until '(($(tcpdump -r "$LAB_DIR/lab.pcap" 2>/dev/null | grep -c "Flags \[F") >= 3))' 5 || true
    kill "$tcpdump"
    wait "$tcpdump" || true
}

# One flow a line, the endpoints in a fixed order: "tcp 10.1.0.2 40000 10.3.1.2 80 HTTP name". Later fragments,
# which have no ports, are flows of eVNF's own.
lines() { sort -u; }
of_ndpireader() {
    ndpiReader -q -t -i "$1" -C "$LAB_DIR/ndpi.csv" >/dev/null 2>&1
    awk -F, 'NR > 1 { print $2, $6, $7, $8, $9, $11, $12 }' "$LAB_DIR/ndpi.csv" |
        while read -r protocol src sport dst dport label sni; do
            protocol=$(getent protocols "$protocol" | awk '{ print $1 }')
            flow "$protocol" "$src" "$sport" "$dst" "$dport" "$label" "$sni"
        done | lines
}
of_evnfd() {
    "$EVNFD" --replay "$1" -c "$LAB_DIR/dpi.yaml" --port eth0 --json | tail -1 |
        jq -r '.dpi.flows[] | "\(.proto) \(.src) \(.sport) \(.dst) \(.dport) \(.app) \(.sni // "")"' |
        while read -r protocol src sport dst dport label sni; do
            flow "$protocol" "$src" "$sport" "$dst" "$dport" "$label" "$sni"
        done | lines
}
# The same text for an IPv6 address, whoever wrote it.
canonical() {
    if [[ $1 == *:* ]]; then getent ahostsv6 "$1" | awk 'NR == 1 { print $1 }'; else echo "$1"; fi
}
flow() {
    local ends
    ends=$(printf '%s %s\n' "$(canonical "$2")" "$3" "$(canonical "$4")" "$5" | sort | tr '\n' ' ')
    printf '%s %s%s %s\n' "$1" "$ends" "$6" "$7"
}

printf 'ports: [{name: eth0, chain: dpi}]\nplugins: {dpi: }\n' >"$LAB_DIR/dpi.yaml"
record
for capture in "$LAB_DIR/lab.pcap" ${EVNF_CAPTURES:+"$EVNF_CAPTURES"/*.pcap}; do
    of_ndpireader "$capture" >"$LAB_DIR/theirs"
    of_evnfd "$capture" >"$LAB_DIR/ours"
    (($(wc -l <"$LAB_DIR/theirs") >= 1)) || fail "ndpiReader sees no flow in $capture"
    missing=$(comm -23 "$LAB_DIR/theirs" "$LAB_DIR/ours")
    assert_eq "" "$missing" "flows of $capture that eVNF names differently"
done
grep -q 'TLS.* shop.example' "$LAB_DIR/ours" || [[ -n ${EVNF_CAPTURES:-} ]] || fail "the TLS flow has no server name"

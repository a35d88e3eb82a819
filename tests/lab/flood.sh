# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# A flow of iperf3 from the client to s1, and a flood of SYNs from the client's side to s2, through a stateful fw alone.
# Source it after lab.sh; then: flood_lab; flood_config [SETTINGS…] | config FILE; start_evnfd FILE; start_flow …; start_flood …

# For the scripts that source this file.
# shellcheck disable=SC2034
ALLOWED_PORT=80 DENIED_PORT=81
readonly FLOW_PORT=5201
HALF_OPEN=$PIN_DIR/state/fw/fw_half_open FLOOD_TO=$S2 # a script that floods another function says otherwise

# flood_lab: lab_up, with a queue for each CPU at both ends of every wire, as NICs have: what a CPU sends, it works off
# itself. In a queue that another CPU empties, a flood would have no room, and nor would the flow.
flood_lab() {
    lab_up
    local end
    for end in vnf:eth0 vnf:eth1 vnf:eth2 client:eth0 s1:eth0 s2:eth0; do
        flood_queues "${end%:*}" "${end#*:}" "$(nproc)"
    done
    # Off and on again: the client's end went up first and does not know yet that it may send frames of XDP.
    vnf ethtool -K eth0 gro off
    vnf ethtool -K eth0 gro on
    client ping -q -c 1 -W 2 "$S2" >/dev/null || fail "no way from the client to s2"
}

# flood_queues HOST INTERFACE COUNT
flood_queues() {
    in_ns "$1" ethtool -L "$2" rx "$3" tx "$3"
    # With the namespace's own /sys.
    ip netns exec "$LAB-$1" bash -c 'for ((cpu = 0; cpu < $2; cpu++)); do
        printf %x $((1 << cpu)) >"/sys/class/net/$1/queues/tx-$cpu/xps_cpus" || exit
    done' _ "$2" "$3" || fail "cannot give each CPU a queue of $2 at $1"
}

# flood_config [SETTING…]: what follows `plugins: fw:` besides the rules.
flood_config() {
    printf 'ports: [{name: eth0, chain: [fw]}, {name: eth1, chain: [fw]}, {name: eth2, chain: [fw]}]\n'
    printf 'plugins:\n  fw:\n    default: drop\n'
    (($# == 0)) || printf '    %s\n' "$@"
    cat <<YAML
    rules:
      - {name: known, state: [established, related], action: allow}
      - {name: denied, proto: tcp, dport: $DENIED_PORT, action: drop}
      - {name: allowed, proto: tcp, dport: $ALLOWED_PORT, state: new, in_port: eth0, action: allow}
      - {name: flow, proto: tcp, dport: $FLOW_PORT, state: new, in_port: eth0, action: allow}
YAML
}

# ---------------------------------------------------------------- the flow

# start_flow BITRATE CLIENT-CPU SERVER-CPU: until finish_flow. Sets FLOW_CONNECTIONS, its two in fw's tables.
start_flow() {
    nsenter --net="/run/netns/$LAB-s1" taskset --cpu-list "$3" iperf3 --server --one-off --port "$FLOW_PORT" >/dev/null 2>&1 &
    FLOW_SERVER=$!
    wait_until "[[ -n \$(s1 ss -Hltn sport = :$FLOW_PORT) ]]" 10 || fail "no iperf3 on s1"
    nsenter --net="/run/netns/$LAB-client" taskset --cpu-list "$2" iperf3 --client "$S1" --port "$FLOW_PORT" --bitrate "$1" \
        --length 16K --time 86400 --json >"$LAB_DIR/flow.json" 2>&1 &
    FLOW_CLIENT=$!
    assert_eventually '(( $(flow_bytes) > 1000000 ))' "iperf3's flow is under way"
    FLOW_CONNECTIONS=$(flow_connections)
    assert_eq 2 "$(wc -w <<<"$FLOW_CONNECTIONS")" "established connections of iperf3, its control and its data"
}

# Bytes that s1's iperf3 was given, in order and once.
flow_bytes() {
    s1 ss -HtinO state established sport = ":$FLOW_PORT" | grep -o 'bytes_received:[0-9]*' |
        awk -F: '{ sum += $2 } END { print sum + 0 }'
}

# The client's ports of the established connections to s1 that fw knows.
flow_connections() {
    ctl fw connections tcp established "$S1" --json |
        jq -r --argjson port "$FLOW_PORT" 'map(select(.dport == $port) | .sport) | sort | join(" ")'
}

# assert_flow_kept WHAT: both connections are those that it began with, for fw and for its ends.
assert_flow_kept() {
    assert_eq "$FLOW_CONNECTIONS" "$(flow_connections)" "$1: established connections that fw knows"
    assert_eq "$FLOW_CONNECTIONS" "$(client ss -HtnO state established dport = ":$FLOW_PORT" |
        awk '{ sub(/.*:/, "", $3); print $3 }' | sort -n | paste -sd' ')" "$1: established connections of iperf3"
}

# Segments that the client's TCP has sent again.
retransmitted() { client nstat -aszj TcpRetransSegs | jq .kernel.TcpRetransSegs; }

finish_flow() {
    kill -INT "$FLOW_CLIENT"
    wait "$FLOW_CLIENT" || true # iperf3 says 1 when it is interrupted
    assert_json '.error | test("interrupt")' "$(cat "$LAB_DIR/flow.json")" "iperf3 ends because it is told to"
    wait "$FLOW_SERVER" || true # as above
}

# ---------------------------------------------------------------- the flood

# start_flood PORT RATE CPU…: so many SYNs a second to that port of s2, or of a VIP before it, from as many sources, until
# finish_flood.
start_flood() {
    local cpu options=()
    for cpu in "${@:3}"; do options+=(--cpu "$cpu"); done
    [[ -z $HALF_OPEN ]] || options+=(--half-open "$HALF_OPEN")
    # In the client's namespace, so that it ends with the lab; by no function, so that $! is the flood itself.
    nsenter --net="/run/netns/$LAB-client" "$EVNF_BUILD/bin/evnf_flood" --client "/run/netns/$LAB-client" \
        --server "/run/netns/$LAB-s2" --gateway "$(vnf ip -j link show eth0 | jq -r '.[0].address')" --to "$FLOOD_TO" \
        --server-address "$S2" --port "$1" --rate "$2" "${options[@]}" >"$LAB_DIR/flood.json" 2>&1 &
    FLOOD_PID=$!
}

# finish_flood: sets FLOOD, the report.
finish_flood() {
    kill -TERM "$FLOOD_PID"
    wait "$FLOOD_PID" || fail "evnf_flood: $(cat "$LAB_DIR/flood.json")"
    # shellcheck disable=SC2034 # for the scripts that source this file
    FLOOD=$(cat "$LAB_DIR/flood.json")
}

tracking() { ctl fw tracking --json | jq ".$1"; }

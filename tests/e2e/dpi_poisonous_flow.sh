#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A dissector that crashes, and one that never comes back: the daemon dies, the traffic does not, and the next daemon leaves
# the flow alone that it died of.
source "$(dirname "$0")/../lab/lab.sh"
ulimit -c 0
lab_up
start_nginx s1
s1 socat -u UDP4-RECV:4001 /dev/null &
s1 socat -u UDP4-RECV:4002 /dev/null &

# The daemon with a plugin that does what a packet asks for.
mkdir -p "$LAB_DIR/vnf/bin" "$LAB_DIR/vnf/lib/evnf"
cp "$EVNFD" "$LAB_DIR/vnf/bin/"
cp "$EVNF_BUILD/lib/evnf-e2e-tests/dpi_faults.so" "$LAB_DIR/vnf/lib/evnf/"
EVNFD=$LAB_DIR/vnf/bin/evnfd
config "$LAB_DIR/evnf.yaml" <<'YAML'
ports:
  - {name: eth0, chain: [dpi]}
  - {name: eth1, chain: [dpi]}
plugins:
  dpi: {module: dpi_faults, workers: 2}
YAML

# say WORDS PORT: always from the same port of the client's, so that it is one flow.
say() { client socat -u - "UDP4:$S1:$2,sourceport=5000" <<<"$1"; }

# dies_of WORDS PORT STATUS: and is started anew, as by systemd.
dies_of() {
    local status=0
    for _ in 1 2 3; do say "$1" "$2"; done
    assert_eventually "! kill -0 $EVNFD_PID 2>/dev/null" "evnfd dies of $1"
    wait "$EVNFD_PID" || status=$?
    assert_eq "$3" "$status" "exit status of evnfd at $1"
    start_evnfd "$LAB_DIR/evnf.yaml"
}

flow_to() { ctl dpi flows --json | jq "[.[] | select(.dport == $1)]"; }
poisonous_flows() { ctl dpi status --json | jq .poisonous_flows; }

# works PORT COUNT: classification goes on, and that flow is left alone, however often it asks.
works() {
    local port=$1 count=$2 pid=$EVNFD_PID before
    assert_eq "$count" "$(poisonous_flows)" "flows in quarantine"
    grep -q "not inspected any more" <(grep ":$port " "$EVNFD_LOG") || fail "the log does not name the flow to port $port"
    assert_json '[.[] | .state] == ["gave_up"]' "$(flow_to "$port")" "the poisonous flow"
    before=$(flow_to 80 | jq '[.[] | select(.app == "HTTP")] | length')
    client curl -sf --max-time 3 "http://$S1/" >/dev/null || fail "no answer over HTTP"
    assert_eventually "(( \$(flow_to 80 | jq '[.[] | select(.app == \"HTTP\")] | length') > $before ))" "another flow is named"
    say EVNF-CRASH "$port"
    say EVNF-LOOP "$port"
    assert_eventually "(( \$(flow_to $port | jq '.[0].packets') >= 5 ))" "its packets are counted on"
    ctl status >/dev/null
    kill -0 "$pid" || fail "evnfd died again"
}

start_evnfd "$LAB_DIR/evnf.yaml"
client ping -q -c 1 -W 2 "$S1" >/dev/null || fail "no way to the server"
start_stream steady client s1 "$S1:7"
assert_eq 0 "$(poisonous_flows)" "flows in quarantine at the begin"

dies_of EVNF-CRASH 4001 139
works 4001 1

# Nobody waits for the dissector but its own worker.
say EVNF-LOOP 4002
for _ in {1..10}; do
    timeout 1 "$EVNFCTL" -s "$EVNFD_SOCKET" dpi flows --json >/dev/null || fail "a question waits for a dissector"
done
dies_of EVNF-LOOP 4002 134
works 4002 2
grep -q "nDPI has spent 2 s on one packet of flow udp 10.1.0.2:5000 - 10.3.1.2:4002" "$EVNFD_LOG" || fail "nobody says why evnfd ended"

# A clean stop leaves nobody in quarantine, and what is there stays.
stop_evnfd
start_evnfd "$LAB_DIR/evnf.yaml"
works 4002 2
finish_stream steady
assert_no_packet_lost

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The flow log: a connection that has ended is told of in a file, over a Unix socket and by IPFIX; a file that was moved
# away is made anew by a reload.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
flows=$LAB_DIR/flows.json
vnf socat -u UNIX-LISTEN:"$LAB_DIR/collector.sock",fork CREATE:"$LAB_DIR/collected.json" &
vnf socat -u UDP-RECV:4739,bind=127.0.0.1 CREATE:"$LAB_DIR/flows.ipfix" &
assert_eventually '[[ -S $LAB_DIR/collector.sock && -e $LAB_DIR/flows.ipfix ]]' "collectors listen"
sed "s|^  dpi: {}|  dpi: {idle_timeout: {tcp: 2s, udp: 2s}, flow_log: [$flows, \"unix:$LAB_DIR/collector.sock\", \"ipfix:127.0.0.1:4739\"]}|" \
    "$LAB_SOURCE/chain.yaml" | config "$LAB_DIR/evnf.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"

web() { client curl -sf --max-time 3 "http://$VIP/" >/dev/null || fail "no answer over HTTP"; }
# records FILE: the lines of HTTP flows.
records() { jq -c 'select(.type == "flow" and .dport == 80)' "$1" 2>/dev/null || true; }

web
assert_eventually '[[ -n $(records $flows) && -n $(records $LAB_DIR/collected.json) ]]' "the flow's record in the file and at the socket"
record=$(records "$flows")
assert_json '.app == "HTTP" and .confidence == "DPI" and .src == "10.1.0.2" and .proto == "tcp" and .gap == false' "$record" "what the record says"
assert_json '.packets == .packets_out + .packets_back and .packets_out > 3 and .packets_back > 3 and .bytes > 500' "$record" "the flow's counters"
assert_json '.start <= .end and (.reason == "fin" or .reason == "idle")' "$record" "the flow's end"
assert_eq "$record" "$(records "$LAB_DIR/collected.json")" "the record at the socket"
assert_eventually 'ipfixDump --in "$LAB_DIR/flows.ipfix" 2>/dev/null | grep -q "applicationName : (len: 4) HTTP"' "the record by IPFIX"

mv "$flows" "$flows.1"
reload
assert_eventually '[[ -e $flows ]]' "a new file after the reload"
web
assert_eventually '[[ -n $(records $flows) ]]' "the next record in the new file"
assert_eq 1 "$(records "$flows.1" | wc -l)" "records in the file that was moved away"
assert_json '[.flow_log[] | .lost == 0 and .problem == null] == [true, true, true]' "$(ctl dpi status --json)" "what the targets lost"
assert_clean

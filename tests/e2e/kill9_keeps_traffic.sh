#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9: the chain goes on without a daemon; a new daemon adopts counters and connections.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
config "$LAB_DIR/evnf.yaml" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"

client curl -sf -o "$LAB_DIR/slow" "http://$VIP/slow" &
download=$!
assert_eventually '[[ -s $LAB_DIR/slow ]]' "the download begins"
start_load new 9 "http://$VIP/" -H 'Connection: close'
assert_eventually '(( $(rule_packets web) > 1000 ))' "requests come"
before=$(ctl stats --json)
generation=$(generation)
web=$(rule_packets web)
end_evnfd KILL
assert_eq 137 "$EXIT_STATUS" "exit status after kill -9"

assert_answers 5000 "requests are answered without a daemon"
client curl -sf --max-time 2 "http://$VIP/" >/dev/null || fail "no new connection while the daemon is dead"
client curl -s --max-time 1 "http://$S1:8081/" && fail "no filter while the daemon is dead"

start_evnfd "$LAB_DIR/evnf.yaml"
packets() { jq '.ports[] | select(.name == "eth0") | .packets'; }
(($(ctl stats --json | packets) > $(packets <<<"$before"))) || fail "the counters began anew"
(($(rule_packets web) > web)) || fail "the rule's counter began anew"
(($(generation) > generation)) || fail "the generation number began anew"
finish_load
assert_load_clean "requests over kill -9 and restart"
wait "$download" || fail "the connection did not survive"
assert_eq 4194304 "$(stat -c %s "$LAB_DIR/slow")" "bytes of the download"
assert_no_packet_lost

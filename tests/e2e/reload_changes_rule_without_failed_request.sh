#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# SIGHUP with a changed rule takes effect while requests run, and fails none of them.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
config "$LAB_DIR/evnf.yaml" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"

start_load new 8 "http://$VIP/" -H 'Connection: close'
client curl -s --max-time 1 "http://$S1:8081/" && fail "port 8081 is open before the reload"
blocked=$(rule_packets blocked)
sed 's/dport: 8081, action: drop/dport: 8081, action: allow/' "$LAB_SOURCE/chain.yaml" | config "$LAB_DIR/evnf.yaml"
reload
assert_eq s1 "$(client curl -sf --max-time 2 "http://$S1:8081/")" "answer at port 8081 after the reload"
(($(rule_packets blocked) > blocked)) || fail "the rule's counter did not survive the reload"

# And many reloads, one after the other.
for _ in {1..5}; do reload; done
finish_load
assert_load_clean "requests during reloads"
assert_clean

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9: dpi makes no more copies and a firewall with `orphan: keep` goes on; one with `orphan: drop` closes. A new
# daemon puts both right.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1

# configuration ORPHAN: every packet with payload is copied, so that a dead reader's ring would soon be full.
configuration() {
    config "$LAB_DIR/$1.yaml" <<YAML
ports:
  - {name: eth0, chain: [fw, dpi]}
  - {name: eth1, chain: [dpi]}
plugins:
  fw: {default: next, orphan: $1}
  dpi: {offload: {mode: none}}
YAML
}
get() { client curl -sf --max-time 1 -o /dev/null "http://$S1:$1/"; }
inspected() { ctl dpi flows --json | jq -e --argjson port "$1" 'any(.[]; .dport == $port and .app == "HTTP")' >/dev/null; }
last_heartbeat() { bpftool -j map dump pinned "$PIN_DIR/state/evnf/evnf_heartbeats" | jq '[.[].formatted.value] | max'; }
jiffies() { awk '/^jiffies:/ { print $2; exit }' /proc/timer_list; }

configuration keep
start_evnfd "$LAB_DIR/keep.yaml"
get 8080 || fail "no answer through the chain"
assert_eventually "inspected 8080" "dpi names the flow"
assert_clean
end_evnfd KILL
assert_eventually '(($(last_heartbeat) < $(jiffies)))' "the last heartbeat is past"
# The ring has room for 46603 copies of the smallest size, and a request and its answer make two.
total=0
while ((total < 30000)); do
    start_load orphaned 2 "http://$S1:8080/"
    finish_load
    assert_load_clean "requests without a daemon"
    total=$((total + REQUESTS))
done
start_evnfd "$LAB_DIR/keep.yaml"
assert_clean # no copy was lost: none was made
get 8082 || fail "no answer after the restart"
assert_eventually "inspected 8082" "dpi names flows again"
assert_clean
stop_evnfd

configuration drop
start_evnfd "$LAB_DIR/drop.yaml"
get 8080 || fail "no answer while the firewall's slow path lives"
end_evnfd KILL
get 8080 || fail "no answer right after the kill: the firewall did not wait for the heartbeat"
assert_eventually '! get 8080' "the firewall closes"
get 8080 && fail "the firewall did not stay closed"
start_evnfd "$LAB_DIR/drop.yaml"
assert_eventually 'get 8080' "the firewall opens again"
assert_json 'any(.drops[]; .stage == "fw" and .reason == "orphaned" and .packets > 0)' "$(ctl stats --json)" \
    "what was dropped has its name"
assert_clean

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A server that stops is found out within fall × interval, and from then on no request fails; it is used again when it is
# back. A drain takes no request with it. What becomes of traffic when all are down is configured.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2

# balanced WHEN_ALL_DOWN: the lab's chain, with health checks, whose answers the firewall lets in.
balanced() {
    sed "/name: web\$/,/name: web6/ s/^        proto: tcp\$/&\n        health: {type: http, interval: 500ms, timeout: 200ms, rise: 2, fall: 3}\n        when_all_down: $1/
         s/^      - {name: replies, dst: \[/&10.3.1.1, 10.3.2.1, /" "$LAB_SOURCE/chain.yaml" | config "$LAB_DIR/evnf.yaml"
}
row() { ctl lb backends --json | jq -c ".[] | select(.service == \"web\" and .name == \"$1\")"; }
state() { row "$1" | jq -r .state; }
stop_nginx() { kill -TERM "$(cat "$LAB_DIR/$1/nginx.pid")"; }
servers() { for _ in {1..20}; do client curl -sf --max-time 2 "http://$VIP/" || echo failed; done | sort -u | xargs; }

balanced keep
start_evnfd "$LAB_DIR/evnf.yaml"
assert_eq "s1 s2" "$(servers)" "servers to begin with"

# Draining, under keep-alive load.
start_load drain 4 "http://$VIP/"
assert_eventually '(( $(row s1 | jq .connections) > 0 ))' "connections to s1"
ctl lb drain web s1 >/dev/null
assert_eq s2 "$(servers)" "servers of new connections when s1 is drained"
((100 < $(row s1 | jq .packets))) || fail "s1 served nothing"
finish_load
assert_load_clean "a drain under load"
ctl lb activate web s1 >/dev/null
assert_eq "s1 s2" "$(servers)" "servers after the drain"

# A server dies under load.
start_load stop 4 "http://$VIP/"
assert_eventually '(( $(row s1 | jq .connections) > 0 ))' "connections to s1"
stop_nginx s1
wait_until '[[ -z $(s1 ss -Hltn sport = :80) ]]' 5 || fail "nginx on s1 does not stop"
stopped=$(date +%s%3N)
assert_eventually '[[ $(state s1) == down ]]' "s1 is down"
found=$(date +%s%3N -d "$(sed -n 's|^\(.*\) warning lb: web/s1 is down.*|\1|p' "$EVNFD_LOG")")
((found - stopped <= 3 * 500 + 200)) || fail "a stopped server was found out after $((found - stopped)) ms"
start_load after 3 "http://$VIP/"
finish_load
assert_load_clean "load after a server's death"
assert_eq s2 "$(servers)" "servers when s1 is dead"

start_nginx s1
assert_eventually '[[ $(state s1) == up ]]' "s1 is up again"
assert_eq "s1 s2" "$(servers)" "servers when s1 is back"
assert_eq 2 "$(row s1 | jq .health_changes)" "changes of s1's health"

# A server hangs under load: no request fails but those that it has, one of a connection at most, and none later.
workers() { pgrep -P "$(cat "$LAB_DIR/$1/nginx.pid")"; }
start_load hang 5 "http://$VIP/"
assert_eventually '(( $(row s1 | jq .connections) > 0 ))' "connections to s1"
kill -STOP $(workers s1)
assert_eventually '[[ $(state s1) == down ]]' "s1, which hangs, is down"
finish_load
((ERRORS <= 36)) || fail "$ERRORS requests failed of 36 connections when a server hung"
start_load after 3 "http://$VIP/"
finish_load
assert_load_clean "load while a server hangs"
kill -CONT $(workers s1)
assert_eventually '[[ $(state s1) == up ]]' "s1 is up again after it hung"
assert_eq "s1 s2" "$(servers)" "servers when s1 works again"

# All die: they are kept, so that clients are told at once.
stop_nginx s1
stop_nginx s2
assert_eventually '[[ $(state s1) == down && $(state s2) == down ]]' "both are down"
assert_eq 4096 "$(($(row s1 | jq .slots) + $(row s2 | jq .slots)))" "slots that the dead keep"
refused=0
client curl -s --max-time 2 "http://$VIP/" || refused=$?
assert_eq 7 "$refused" "curl's status when the dead servers refuse"

balanced drop
reload
assert_eq 0 "$(($(row s1 | jq .slots) + $(row s2 | jq .slots)))" "slots of the dead"
late=0
client curl -s --max-time 1 "http://$VIP/" || late=$?
assert_eq 28 "$late" "curl's status when nobody answers"
assert_json 'any(.drops[]; .stage == "lb" and .reason == "no_backend" and .packets > 0)' "$(ctl stats --json)" "drops for lack of a backend"
assert_clean

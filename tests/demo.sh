#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The main job on real traffic: client -> evnfd (fw, dpi, lb; reverse on the way back) -> two nginx servers.
# Every ✔ was measured in this run; anything else ends the demo with what went wrong. Run by ./dev demo.
source "$(dirname "$0")/lab/lab.sh"

export LC_ALL=C.UTF-8 # the picture counts characters, not bytes
readonly WANTED=20000
file=$LAB_DIR/evnf.yaml
checks=()
passed() {
    checks+=("$1")
    printf '  \033[32m✔\033[0m %s\n' "$1"
}

# s2 weighs half of s1.
demo_config() { sed "/name: web$/,/name: web6$/ s/\(name: s2.*weight:\) 100/\1 50/; ${1:-}" "$LAB_SOURCE/chain.yaml" | config "$file"; }

thousands() { sed -E ':a; s/^([0-9]+)([0-9]{3})/\1 \2/; ta' <<<"$1"; }

lab_up
printf '  network namespaces: client, vnf, s1, s2; nginx on both servers\n'
start_nginx s1 s2
demo_config
start_evnfd "$file"
passed "evnfd runs the chain fw, dpi, lb on eth0 and lb, dpi, fw on eth1 and eth2 ($(ctl status --json | jq -r '[.ports[].hook] | unique | join(", ")') XDP)"

# ---- real requests, each on a connection of its own; a rule changes while they run

served_s1=$(served s1) served_s2=$(served s2) requests=0
for round in 1 2 3 4 5 6; do
    start_load "round$round" 5 "http://$VIP/" -H 'Connection: close'
    if ((round == 1)); then
        assert_eventually '(( $(rule_packets web) > 0 ))' "requests come"
        client curl -s --max-time 1 "http://$S1:8081/" >/dev/null && fail "the blocked port 8081 is open"
        blocked=$(rule_packets blocked)
        ((blocked > 0)) || fail "the rule 'blocked' counted nothing"
        demo_config 's/dport: 8081, action: drop/dport: 8081, action: allow/'
        reload
        assert_eq s1 "$(client curl -sf --max-time 2 "http://$S1:8081/")" "answer at port 8081 after the reload"
    fi
    finish_load
    assert_load_clean "HTTP through the load balancer"
    # shellcheck disable=SC2153 # set by finish_load
    requests=$((requests + REQUESTS))
    ((requests < WANTED)) || break
done
((requests >= WANTED)) || fail "only $requests requests in $((round * 5)) s, not $WANTED"
of_s1=$(($(served s1) - served_s1)) of_s2=$(($(served s2) - served_s2))
passed "$(thousands $requests) HTTP requests on as many connections to $VIP:80, none failed"

share=$(awk -v a="$of_s1" -v b="$of_s2" 'BEGIN { printf "%.1f", 100 * a / (a + b) }')
awk -v share="$share" 'BEGIN { exit !(share > 100 * 100 / 150 - 5 && share < 100 * 100 / 150 + 5) }' ||
    fail "s1 with weight 100 of 150 served $share %"
passed "s1 with weight 100 served $share %, s2 with weight 50 the rest"
passed "port 8081 was dropped, counted under its rule: blocked $blocked"
passed "SIGHUP with that rule changed to allow took effect while requests ran, none failed"

# ---- routing, and names for traffic

assert_eq s2 "$(client curl -sf --max-time 2 "http://$S2:8080/")" "answer of a host that is no VIP"
passed "a permitted flow to $S2, which is no VIP, was routed"

client curl -skf --max-time 3 --resolve "shop.example:443:$VIP" https://shop.example/ >/dev/null || fail "no answer over TLS"
tls_flow() { ctl dpi flows --json | jq -c '[.[] | select(.sni == "shop.example")][0]'; }
assert_eventually '[[ $(tls_flow) != null ]]' "dpi finds the server name shop.example"
assert_json '.app | startswith("TLS")' "$(tls_flow)" "application of the TLS flow"
apps=$(ctl dpi apps --json)
assert_json '[.[] | select(.app | startswith("HTTP")) | .flows] | add > 0' "$apps" "flows that dpi names HTTP"
passed "dpi names HTTP, and $(tls_flow | jq -r .app) with the server name $(tls_flow | jq -r .sni)"

assert_clean
passed "no missed tail call, no lost event, no redirect error"

# ---- the summary

stats=$(ctl stats --json)
port() { thousands "$(jq --arg port "$1" --arg key "$2" '.ports[] | select(.name == $port) | .[$key]' <<<"$stats")"; }
rule() { thousands "$(rule_packets "$1")"; }
flows() { thousands "$(jq --arg app "$1" '[.[] | select(.app | startswith($app)) | .flows] | add // 0' <<<"$apps")"; }
servers() { thousands "$(jq --arg key "$1" '[.ports[1, 2][$key]] | add' <<<"$stats")"; }
readonly WIDTH=76
rule_off() { # LEFT TEXT RIGHT: a line of the box, filled up with ─
    local line="─$2" left=$1 right=$3
    while ((${#line} < WIDTH)); do line+='─'; done
    printf '   %s%s%s\n' "$left" "$line" "$right"
}
row() { printf '   │ %-4s%-*s│\n' "$1" $((WIDTH - 5)) "$2"; }

printf '\n   client 10.1.0.2\n'
printf '      │  %s packets in: %s forwarded by XDP, %s dropped, %s left to the kernel\n' \
    "$(port eth0 packets)" "$(port eth0 forward)" "$(port eth0 drop)" "$(port eth0 kernel)"
rule_off ┌ "─▼── eth0 ── evnfd, generation $(generation) " ┐
row fw "web $(rule web), direct $(rule direct), blocked $(rule blocked), default $(rule default) packets"
row dpi "HTTP $(flows HTTP), TLS $(flows TLS) flows"
row lb "$VIP:80 -> s1 $(thousands "$of_s1"), s2 $(thousands "$of_s2") requests"
rule_off └ "─┬── eth1 ─────────────────────┬── eth2 " ┘
printf '      ▼                             ▼\n'
printf '   s1 %-12s               s2 %s\n' "$S1" "$S2"
printf '      │  back through lb, dpi, fw: %s packets, %s forwarded by XDP\n' "$(servers packets)" "$(servers forward)"
printf '      └──▶ client\n\n'
printf '\033[32mThe demo passed: %d checks in %d s.\033[0m\n' "${#checks[@]}" "$SECONDS"

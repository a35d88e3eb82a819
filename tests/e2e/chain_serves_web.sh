#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The whole chain on real traffic: services of both IP versions, shares by weight, a dropped port, plain routing.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
config "$LAB_DIR/evnf.yaml" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"

# A service over IPv4: each connection to one of the two, both near half.
served_s1=$(served s1) served_s2=$(served s2)
start_load web 4 "http://$VIP/" -H 'Connection: close'
finish_load
assert_load_clean "web service"
of_s1=$(($(served s1) - served_s1)) of_s2=$(($(served s2) - served_s2))
share=$((100 * of_s1 / (of_s1 + of_s2)))
((share >= 45 && share <= 55)) || fail "s1 got $share % of the requests, not 45 to 55"
assert_json '[.[] | select(.service == "web") | .packets > 0 and .state == "up"] == [true, true]' \
    "$(ctl lb backends --json)" "both backends of web count their packets"

# The same over IPv6, to another port of the servers.
answers=$(for _ in {1..40}; do client curl -sf --max-time 2 "http://[$VIP6]/"; done | sort -u | tr '\n' ' ')
assert_eq "s1 s2 " "$answers" "servers that answer under the IPv6 address"

# Fast path: after the first packets, nothing of it goes through the kernel.
assert_json '.ports[0] | .forward > 100 * .kernel' "$(ctl stats --json)" "traffic is forwarded in the fast path"

# UDP.
s1 socat UDP4-RECVFROM:7,fork SYSTEM:'cat >/dev/null; echo s1' &
s2 socat UDP4-RECVFROM:7,fork SYSTEM:'cat >/dev/null; echo s2' &
ask_echo() { client bash -c 'exec 3<>"/dev/udp/$1/7"; echo ask >&3; timeout 2 head -n 1 <&3' -- "$VIP"; }
assert_eventually '[[ -n $(ask_echo) ]]' "an answer of the UDP service"
answers=$(for _ in {1..16}; do ask_echo; done | sort -u | tr '\n' ' ')
assert_eq "s1 s2 " "$answers" "servers that answer the UDP service"

# A rule that drops is obeyed, and its packets are counted under its name.
before=$(rule_packets blocked)
client curl -s --max-time 1.5 "http://$S1:8081/" && fail "port 8081 is open"
(($(rule_packets blocked) > before)) || fail "the rule 'blocked' counted nothing"
assert_json '[.drops[] | select(.stage == "fw" and .reason == "rule") | .packets > 0] == [true]' "$(ctl stats --json)" \
    "drops by rule"

# What no rule allows is dropped by the default.
client curl -s --max-time 1.5 "http://$S1:8082/" && fail "port 8082 is open"
(($(rule_packets default) > 0)) || fail "the default counted nothing"

# A permitted flow to a host that is no VIP is routed.
assert_eq s2 "$(client curl -sf --max-time 2 "http://$S2:8080/")" "answer of a host that is no VIP"
assert_clean

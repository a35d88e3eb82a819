#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# dpi names what it sees: HTTP, and TLS with the server's name.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
config "$LAB_DIR/evnf.yaml" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"

client curl -sf --max-time 3 "http://$VIP/" >/dev/null || fail "no answer over HTTP"
client curl -skf --max-time 3 --resolve "shop.example:443:$VIP" https://shop.example/ >/dev/null || fail "no answer over TLS"

flow() { ctl dpi flows --json | jq "[.[] | select(.dport == $1 or .sport == $1)]"; }
assert_eventually '[[ $(flow 80 | jq "[.[] | select(.app | startswith(\"HTTP\"))] | length") == 1 ]]' "one flow named HTTP"
assert_eventually '[[ $(flow 443 | jq "[.[] | select(.app | startswith(\"TLS\"))] | length") == 1 ]]' "one flow named TLS"
assert_json '.[0].sni == "shop.example"' "$(flow 443)" "the server name of the TLS flow"
assert_json '.[0].state == "classified" and .[0].packets > 6 and .[0].proto == "tcp"' "$(flow 443)" "the TLS flow"
assert_json '[.[] | select(.app | startswith("TLS")) | .flows] == [1]' "$(ctl dpi apps --json)" "flows by application"
assert_clean

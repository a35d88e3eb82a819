#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What the firewall says of packets and of its rules, for people: what decides, what nearly does, what is of no use.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml
sed 's/^      - {name: replies/      - {name: tls, dst: 10.2.0.2, proto: tcp, dport: 443, action: drop}\n&/' "$LAB_SOURCE/chain.yaml" | config "$file"
assert_eq "" "$(vnf "$EVNFD" --check -c "$file" 2>&1)" "what --check says of a covered rule"
start_evnfd "$file"
assert_eventually "grep -q 'a rule never decides, since an earlier rule covers it: tls (by web)' $EVNFD_LOG" "the log names the covered rule"
assert_json 'map(select(.name == "web")) | .[0].last_hit_s == null' "$(ctl fw rules --json)" "a rule that was never hit"
ctl fw rules | grep -Eq '^web .* never$' || fail "no 'never' in: $(ctl fw rules)"

client curl -sf --max-time 2 "http://$VIP/" >/dev/null || fail "the chain does not serve"
assert_json 'map(select(.name == "web")) | .[0].last_hit_s <= 5' "$(ctl fw rules --json)" "a rule that was hit"
ctl fw rules | grep -Eq '^web .* [0-9] s$' || fail "no seconds in: $(ctl fw rules)"
assert_json '. == [{rule: "echo", why: "never hit"}, {rule: "direct", why: "never hit"}, {rule: "blocked", why: "never hit"},
    {rule: "tls", why: "covered", by: "web"}]' "$(ctl fw unused --json)" "unused rules"

packet="tcp 10.1.0.2:1234 > $VIP:80"
# shellcheck disable=SC2086 # as several arguments, too
assert_eq "$(ctl fw explain "$packet" --json)" "$(ctl fw explain $packet --json)" "the packet as one argument and as several"
assert_json '.rule == "web" and .action == "allow" and (.nearly[0] | .rule == "blocked" and .differs == ["dport"] and .wants == "8081")' \
    "$(ctl fw explain "$packet" --json)" "a packet explained"
assert_json '.rule == "replies"' "$(ctl fw explain 'udp [2001:db8:2::2]:53 > [2001:db8:1::2]:9 in eth1' --json)" "an IPv6 packet explained"
text=$(ctl fw explain "$packet in eth0")
grep -q "^packet  $packet flags syn in eth0 " <<<"$text" || fail "the packet is not repeated: $text"
(($(wc -L <<<"$text") <= 100)) || fail "wider than 100 columns: $text"
status=0
ctl fw explain "tcp 10.1.0.2 10.2.0.2" 2>"$LAB_DIR/refusal" || status=$?
assert_eq 1 "$status" "exit status of what is no packet"
grep -q "a packet is described as PROTO SRC" "$LAB_DIR/refusal" || fail "unclear: $(cat "$LAB_DIR/refusal")"
assert_clean

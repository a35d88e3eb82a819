#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A reload on trial: without confirmation the configuration before it comes back, with it the new one stays.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml
config "$file" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$file"

serves() { client curl -sf --max-time 0.5 "http://$VIP/" >/dev/null; }
# locking_out: the client's traffic is dropped, and two more rules tell this configuration from the other.
locking_out() { sed 's/name: web, dst:\(.*\)action: allow}/name: shut, dst:\1action: drop}/' "$LAB_SOURCE/chain.yaml" | config "$file"; }
rules() { ctl fw rules --json | jq -r '[.[].name] | join(" ")'; }

serves || fail "the chain does not serve"
before=$(generation) rules_before=$(rules)
assert_json 'has("confirm_within_s") or has("gone_back_s") | not' "$(ctl status --json)" "status without a trial"

# Not confirmed: it comes back by itself, though the file says otherwise.
locking_out
started=$EPOCHREALTIME
answer=$(ctl reload --confirm 2s)
grep -q "^confirm within 2 s with: evnfctl -s $EVNFD_SOCKET confirm$" <<<"$answer" || fail "reload does not say how to confirm: $answer"
assert_json '.confirm_within_s >= 1 and .confirm_within_s <= 2' "$(ctl status --json)" "status while a confirmation is awaited"
[[ $(rules) == shut* ]] || fail "the new configuration does not run: $(rules)"
serves && fail "the new configuration does not lock out"

# What would confirm in passing is refused, and changes nothing.
status=0
ctl reload 2>"$LAB_DIR/refusal" || status=$?
assert_eq 1 "$status" "exit status of a plain reload meanwhile"
grep -q "waits for its confirmation for [12] s more" "$LAB_DIR/refusal" || fail "unclear: $(cat "$LAB_DIR/refusal")"

wait_until serves 5 || fail "the client is locked out for good"
took=$(awk "BEGIN { print $EPOCHREALTIME - $started }")
awk "BEGIN { exit !($took >= 2 && $took < 4) }" || fail "the way back took $took s instead of 2 to 4"
assert_eq "$rules_before" "$(rules)" "rules after the way back"
assert_eq $((before + 2)) "$(generation)" "generation after the way back"
assert_json '.gone_back_s >= 0 and (has("confirm_within_s") | not)' "$(ctl status --json)" "status after the way back"
grep -q "nobody confirmed the reload" "$EVNFD_LOG" || fail "the log does not say that nobody confirmed"
ctl confirm 2>"$LAB_DIR/refusal" && fail "what is over was confirmed"
grep -q "nothing to confirm" "$LAB_DIR/refusal" || fail "unclear: $(cat "$LAB_DIR/refusal")"

# A second trial goes back to what was confirmed last, not to the first trial.
ctl reload --confirm 1h >/dev/null
sed 's/name: web,/name: another,/' "$LAB_SOURCE/chain.yaml" | config "$file"
ctl reload --confirm 1s >/dev/null
[[ $(rules) == another* ]] || fail "the second trial does not run: $(rules)"
assert_eventually '[[ $(rules) == "$rules_before" ]]' "back to what was confirmed last"

# A refused reload is no trial.
echo 'ports: [' | config "$file"
ctl reload --confirm 1s 2>/dev/null && fail "a file that is no YAML was accepted"
assert_json 'has("confirm_within_s") | not' "$(ctl status --json)" "status after a refused trial"

# Confirmed: it stays, longer than its time was.
locking_out
ctl reload --confirm 1s >/dev/null
deadline=$((SECONDS + 3))
ctl confirm >/dev/null
assert_json 'has("confirm_within_s") or has("gone_back_s") | not' "$(ctl status --json)" "status after the confirmation"
wait_until "((SECONDS >= $deadline))" 5
[[ $(rules) == shut* ]] || fail "what was confirmed did not stay: $(rules)"
serves && fail "what was confirmed did not stay"

status=0
ctl reload --confirm 1d 2>"$LAB_DIR/refusal" || status=$?
assert_eq 1 "$status" "exit status of --confirm 1d"
grep -q "from 1s to 1h" "$LAB_DIR/refusal" || fail "unclear: $(cat "$LAB_DIR/refusal")"
config "$file" <"$LAB_SOURCE/chain.yaml"
ctl reload >/dev/null
serves || fail "a plain reload does not serve after a confirmation"
assert_clean

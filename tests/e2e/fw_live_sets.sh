#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A set of a million prefixes is changed, loaded and reloaded under traffic that loses nothing; a kill keeps the changes.
source "$(dirname "$0")/../lab/lab.sh"
lab_up

# prefixes: a million, a tenth of them IPv6.
prefixes() {
    awk 'BEGIN {
        for (i = 0; i < 900000; i++) { n = i * 18; printf "%d.%d.%d.%d\n", 100 + int(n / 16777216), int(n / 65536) % 256, int(n / 256) % 256, n % 256 }
        for (i = 0; i < 100000; i++) printf "2001:db8:%x:%x::/64\n", int(i / 65536), i % 65536
    }'
}
prefixes >"$LAB_DIR/big.txt"
{ head -n 990000 "$LAB_DIR/big.txt"; echo "$S2"; } >"$LAB_DIR/next.txt"
printf '192.0.2.1\nnonsense\n' >"$LAB_DIR/wrong.txt"

# settings RULE: with a rule more.
settings() {
    config "$LAB_DIR/evnf.yaml" <<YAML
ports: [{name: eth0, chain: [fw]}, {name: eth1, chain: [fw]}, {name: eth2, chain: [fw]}]
plugins:
  fw:
    default: drop
    sets: {big: {file: $LAB_DIR/big.txt}, small: [198.51.100.0/24]}
    rules:
      - {name: from, src: [\$big, \$small], action: drop}
      - {name: to, dst: \$big, proto: icmp, action: drop}
      - {name: $1, proto: esp, action: drop}
      - {name: rest, action: allow}
YAML
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
reaches() { client ping -q -c 1 -W 1 "$1" >/dev/null; }
members() { ctl fw set list --json | jq '.[] | select(.name == "big") | .v4 + .v6'; }
resident() { awk '/^VmRSS/ { print int($2 / 1024) }' "/proc/$EVNFD_PID/status"; }

settings one
begin=$(milliseconds)
start_evnfd "$LAB_DIR/evnf.yaml"
echo "started with a million prefixes in $(($(milliseconds) - begin)) ms; $(resident) MB resident; the set:"
ctl fw set list
assert_eq 1000000 "$(members)" "prefixes"
reaches "$S1" && reaches "$S2" || fail "no way through"
start_stream sets client s1 "$S1:9000"

fastest=10000
for _ in {1..5}; do
    begin=$(milliseconds)
    ctl fw set add big "$S1" 203.0.113.0/24 >/dev/null
    took=$(($(milliseconds) - begin))
    reaches "$S1" && fail "what was added is not dropped"
    ((took < fastest)) && fastest=$took
    ctl fw set del big "$S1" >/dev/null
    reaches "$S1" || fail "what was deleted is dropped"
done
echo "an addition holds after $fastest ms"
((fastest < 100)) || fail "an addition took $fastest ms"

ctl fw set load big "$LAB_DIR/wrong.txt" 2>"$LAB_DIR/refusal" && fail "a wrong file was loaded"
grep -q "$LAB_DIR/wrong.txt:2: 'nonsense' is no IPv4 or IPv6 address or prefix" "$LAB_DIR/refusal" || fail "unclear: $(cat "$LAB_DIR/refusal")"
assert_eq 1000001 "$(members)" "prefixes after a refused file"
begin=$(milliseconds)
(cd "$LAB_DIR" && ctl fw set load big next.txt)
echo "loaded in $(($(milliseconds) - begin)) ms"
assert_eq 990001 "$(members)" "prefixes of the file"
reaches "$S2" && fail "what was loaded is not dropped"

settings two
begin=$(milliseconds)
ctl reload >/dev/null || fail "no reload"
echo "reloaded in $(($(milliseconds) - begin)) ms"
assert_eq 990001 "$(members)" "prefixes after a reload"
reaches "$S2" && fail "the reload forgot a change"

end_evnfd KILL
begin=$(milliseconds)
start_evnfd "$LAB_DIR/evnf.yaml"
echo "started with 10,001 changes in $(($(milliseconds) - begin)) ms"
assert_eq 990001 "$(members)" "prefixes after kill -9"
reaches "$S2" && fail "the kill made it forget a change"
ctl fw set reset big
assert_eq 1000000 "$(members)" "prefixes after a reset"
reaches "$S2" || fail "the reset did not bring back what was"

head -n 200000 "$LAB_DIR/big.txt" >"$LAB_DIR/part.txt"
ctl fw set load small "$LAB_DIR/part.txt" 2>"$LAB_DIR/refusal" && fail "there was room for more than there was to be"
grep -q "no room for 200000 more prefixes in sets: 'evnfctl reload' makes room" "$LAB_DIR/refusal" || fail "unclear: $(cat "$LAB_DIR/refusal")"
ctl reload >/dev/null
ctl fw set load small "$LAB_DIR/part.txt"
assert_json '.[1].v4 == 200000 and .[1].deleted == 1' "$(ctl fw set list --json)" "a set for which a reload made room"
finish_stream sets
assert_no_packet_lost

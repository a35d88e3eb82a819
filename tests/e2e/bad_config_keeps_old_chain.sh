#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A configuration with an error is refused whole, with its place; what ran before runs on.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml
config "$file" <"$LAB_SOURCE/chain.yaml"

assert_eq "" "$(vnf "$EVNFD" --check -c "$file" 2>/dev/null)" "standard output of --check"
vnf "$EVNFD" --check -c "$file" 2>"$LAB_DIR/check" || fail "--check refuses the lab's configuration: $(cat "$LAB_DIR/check")"

# A daemon that starts with an error in its configuration says so by its exit status.
sed 's/default: drop/default: dorp/' "$LAB_SOURCE/chain.yaml" | config "$LAB_DIR/bad.yaml"
status=0
vnf timeout 10 "$EVNFD" -c "$LAB_DIR/bad.yaml" --foreground 2>/dev/null || status=$?
assert_eq 1 "$status" "exit status of evnfd with a bad configuration"

start_evnfd "$file"
before=$(generation)

# The first rule that allows would go, and two more lines are wrong.
sed 's/name: web, dst:/name: web, dts:/; s/default: drop/default: dorp/; s/weight: 100}/weight: many}/' \
    "$LAB_SOURCE/chain.yaml" | config "$file"
line() { grep -n "$1" "$file" | head -1 | cut -d: -f1; }

status=0
vnf "$EVNFD" --check -c "$file" >"$LAB_DIR/out" 2>"$LAB_DIR/check" || status=$?
assert_eq 1 "$status" "exit status of --check"
[[ ! -s $LAB_DIR/out ]] || fail "--check wrote to standard output"
for wrong in 'dts:' 'dorp' 'many'; do
    grep -Eq "^$file:$(line "$wrong"):[0-9]+: " "$LAB_DIR/check" || fail "--check does not point at $wrong: $(cat "$LAB_DIR/check")"
done

status=0
ctl reload 2>"$LAB_DIR/reload" || status=$?
assert_eq 1 "$status" "exit status of evnfctl reload"
grep -Eq "$file:$(line dorp):[0-9]+: " "$LAB_DIR/reload" || fail "evnfctl reload does not say where: $(cat "$LAB_DIR/reload")"

lines=$(wc -l <"$EVNFD_LOG")
kill -HUP "$EVNFD_PID"
assert_eventually "tail -n +$((lines + 1)) $EVNFD_LOG | grep -q '$file:$(line dorp):'" "the log says what SIGHUP found"
assert_eq "$before" "$(generation)" "generation"
client curl -sf --max-time 2 "http://$VIP/" >/dev/null || fail "the old chain does not serve any more"
client curl -s --max-time 1 "http://$S1:8081/" && fail "the old chain does not filter any more"

# A file that is no YAML at all, and one that is not there.
echo 'ports: [' >"$file"
ctl reload 2>"$LAB_DIR/reload" && fail "a file that is no YAML was accepted"
grep -Eq "$file:[0-9]+:[0-9]+: " "$LAB_DIR/reload" || fail "no place in: $(cat "$LAB_DIR/reload")"
rm "$file"
ctl reload 2>"$LAB_DIR/reload" && fail "a file that is not there was accepted"
grep -q "$file" "$LAB_DIR/reload" || fail "the missing file is not named: $(cat "$LAB_DIR/reload")"
assert_eq "$before" "$(generation)" "generation"
client curl -sf --max-time 2 "http://$VIP/" >/dev/null || fail "the old chain does not serve any more"

assert_clean

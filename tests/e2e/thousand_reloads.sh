#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A thousand SIGHUPs, from one rule set to another and back, while packets come at a given rate and 500 transfers run:
# no packet is lost, no connection breaks, no packet is treated by some of both sets, and nothing grows.
#
# The sets are A and B: rules of two firewalls, and the marks of two stamps that stand around them (tests/visits).
#   - A packet that leaves one stamp in A and the other in B has the marks of no set.
#   - The rule that allows the packets is `a` or `b`. Each firewall must have counted under it exactly the packets that
#     bear the marks of that set.
#   - Where one set has the rule that allows, the other has `mixed`, which no packet matches: it decides when a firewall
#     finds the number of a rule in one set's tables and looks it up in the other's.
# In the first half of the reloads all of that changes; in the second half the rules of one firewall only.
# shellcheck disable=SC2154,SC2034 # keys of arrays that are passed by name
source "$(dirname "$0")/../lab/lab.sh"
EVNFD=$EVNF_BUILD/tests/visits/bin/evnfd

RELOADS=${RELOADS:-1000} # a multiple of 4: each half ends where it began
RATE=${RATE:-500000} # packets a second; one core of the build machines makes, forwards and receives 630,000, alone
readonly WARM=$((RELOADS / 10)) # reloads until what may grow is measured for the first time
readonly PORTS=9000-9099

# ---------------------------------------------------------------- the sets

# firewall INSTANCE SET
firewall() {
    local allow="proto: udp, dport: $PORTS, action: allow" never='proto: udp, dport: 1, action: drop'
    printf '  %s:\n    module: fw\n    default: drop\n    rules:\n' "$1"
    if [[ $2 == A ]]; then
        printf '      - {name: %s, %s}\n' mixed "$never" a "$allow" b "$never"
    else
        printf '      - {name: %s, %s}\n' b "$allow" mixed "$never" a "$never"
    fi
    printf '      - {name: web, proto: tcp, dport: 80, action: allow}\n'
    printf '      - {name: replies, dst: 10.1.0.0/24, action: allow}\n'
}

# stamps SET
stamps() {
    local first=1
    [[ $1 == A ]] || first=3
    printf '  stamp%d: {module: stamp, mark: %d}\n' 1 $first 2 $((first + 1))
}

# configuration FIREWALL1 REST: the set of the first firewall, and of the others.
configuration() {
    cat <<YAML
ports:
  - {name: eth0, chain: [stamp1, fw1, dpi, lb, fw2, stamp2]}
  - {name: eth1, chain: [fw2, lb, dpi, fw1]}
  - {name: eth2, chain: [fw2, lb, dpi, fw1]}
plugins:
$(stamps "$2")
$(firewall fw1 "$1")
$(firewall fw2 "$2")
  dpi: {}
  lb:
    services:
      - {name: web, vip: $VIP, port: 80, proto: tcp, backends: [{name: s1, address: $S1}, {name: s2, address: $S2}]}
      - {name: echo, vip: $VIP, port: 9000, proto: udp, backends: [{name: s1, address: $S1}, {name: s2, address: $S2}]}
YAML
}

# ---------------------------------------------------------------- what runs meanwhile

# On one CPU, as in visits.sh, and before all that wants the same one: the rate is not to fall when a reload is slow. The
# generator is told a little more, for it may be behind at the end.
start_traffic() {
    BEFORE=$(port_packets) STARTED=${EPOCHREALTIME/./}
    chrt --fifo 1 taskset --cpu-list 0 "$EVNF_BUILD/bin/evnf_visits" --client "/run/netns/$LAB-client" --vnf "/run/netns/$LAB-vnf" \
        --server "/run/netns/$LAB-s1" --server "/run/netns/$LAB-s2" --stages 2 \
        --gateway "$(vnf ip -j link show eth0 | jq -r '.[0].address')" --source 10.7.0.0 --source6 2001:db8:7:: \
        --flows 64 --rate $((RATE + RATE / 20)) --packets 500000000 >"$LAB_DIR/traffic.json" <<ROUTES &
direct $S1 1 ${PORTS/-*} 100 62 62
balanced $VIP 1 9000 1 62 62
ROUTES
    TRAFFIC_PID=$!
    assert_eventually "(( \$(port_packets) > BEFORE + 1000 ))" "packets come"
}

# The generator makes up for what a busy machine kept it from sending; the next reload waits for that.
await_rate() {
    wait_until '(( ($(port_packets) - BEFORE) * 1000 >= RATE / 1000 * (${EPOCHREALTIME/./} - STARTED) ))' 30 ||
        fail "this machine does not make $RATE packets a second beside reloads: set RATE lower"
}

# Sets REPORT.
stop_traffic() {
    kill -TERM "$TRAFFIC_PID" || fail "the packets ended before the reloads"
    wait "$TRAFFIC_PID" || fail "evnf_visits"
    REPORT=$(<"$LAB_DIR/traffic.json")
}

port_packets() { ctl stats --json | jq '.ports[] | select(.name == "eth0") | .packets'; }

# 4 MB that take 8 s.
start_transfer() {
    client curl -s -o /dev/null -w '%{exitcode} %{size_download}\n' "http://$VIP/slow" >>"$LAB_DIR/transfers" &
    TRANSFERS+=($!)
}

# ---------------------------------------------------------------- reloads

# reload_to CONFIGURATION: back when the log says that it carries traffic. The log is followed by one process for all
# reloads: to ask evnfctl again and again would cost more than the reload.
reload_to() {
    cp "$LAB_DIR/$1.yaml" "$LAB_DIR/evnf.yaml"
    kill -HUP "$EVNFD_PID"
    await_generation
}

await_generation() {
    local line
    while read -r -t 30 line <&"$LOG"; do
        case $line in
        *'carries traffic'*) return ;;
        *'reload refused'*) fail "a reload was refused" ;;
        esac
    done
    fail "no new generation in 30 s"
}

# reload_often COUNT CONFIGURATION…: to each in turn. Every second reload begins a transfer.
reload_often() {
    local count=$1 i
    shift
    for ((i = 0; i < count; i++)); do
        ((i % 2)) || start_transfer
        reload_to "${@:i % $# + 1:1}"
        await_rate
        ((++DONE != WARM)) || measure WARM_SIZE
    done
}

# ---------------------------------------------------------------- what may grow

# measure ARRAY
measure() {
    local -n size=$1
    size[rss_kB]=$(awk '$1 == "VmRSS:" { print $2 }' "/proc/$EVNFD_PID/status")
    size[fds]=$(find "/proc/$EVNFD_PID/fd" -type l | wc -l)
    size[pins]=$(find "$PIN_DIR" -mindepth 1 | wc -l)
    size[maps]=$(bpftool -j map show | jq length)
    size[programs]=$(bpftool -j prog show | jq length)
}

# assert_not_grown WHAT SLACK
assert_not_grown() {
    ((SIZE[$1] <= WARM_SIZE[$1] + $2)) ||
        fail "$1 grew from ${WARM_SIZE[$1]} to ${SIZE[$1]} in $((RELOADS - WARM)) reloads"
}

# ---------------------------------------------------------------- counting

sum() { jq "[.routes[].$1] | add" <<<"$REPORT"; }

# counted FIREWALL RULE
counted() { ctl "$1" rules --json | jq --arg name "$2" '.[] | select(.name == $name) | .packets'; }

print_traffic() {
    printf '%s: %s packets at %.0f/s, %s with the marks of A, %s of B; %s reloads so far\n' "$1" "$(sum sent)" \
        "$(jq '([.routes[].sent] | add) / .seconds' <<<"$REPORT")" "$(sum 'sets[0]')" "$(sum 'sets[1]')" "$DONE"
}

check_arrivals() {
    assert_json "([.routes[].sent] | add) / .seconds >= $RATE" "$REPORT" "packets a second"
    assert_eq "0 0" "$(sum wrong) $(sum duplicates)" \
        "packets with marks of both sets, and that came twice; one of the wrong: $(jq -c .example <<<"$REPORT")"
    assert_eq "$(sum sent)" "$(sum received)" "packets that arrived"
    assert_eq "0 0" "$(counted fw1 mixed) $(counted fw2 mixed)" "packets that fw1 and fw2 judged by some of both sets"
}

# ---------------------------------------------------------------- the test

declare -A WARM_SIZE SIZE
TRANSFERS=() DONE=0

lab_up
# Off and on again: the client's end went up first and does not know yet that it may send frames of XDP.
vnf ethtool -K eth0 gro off
vnf ethtool -K eth0 gro on
for host in 10.1.0.2 $S1 $S2; do
    vnf ping -q -c 1 -W 2 "$host" >/dev/null || fail "no way to $host"
done
start_nginx s1 s2
configuration A A | config "$LAB_DIR/A.yaml"
configuration B B | config "$LAB_DIR/B.yaml"
configuration B A | config "$LAB_DIR/B-A.yaml"
cp "$LAB_DIR/A.yaml" "$LAB_DIR/evnf.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"
exec {LOG}< <(tail --pid="$EVNFD_PID" -n +1 -f "$EVNFD_LOG")
await_generation
first=$(generation)

start_traffic
reload_often $((RELOADS / 2)) B A
stop_traffic
print_traffic "all plugins"
check_arrivals
in_a=$(sum 'sets[0]') in_b=$(sum 'sets[1]') all=$(sum sent)
((in_a > 0 && in_b > 0)) || fail "the packets met only one of the sets"
assert_eq "$in_a $in_a" "$(counted fw1 a) $(counted fw2 a)" "packets that fw1 and fw2 judged by A"
assert_eq "$in_b $in_b" "$(counted fw1 b) $(counted fw2 b)" "packets that fw1 and fw2 judged by B"

start_traffic
reload_often $((RELOADS / 2)) B-A A
stop_traffic
print_traffic "one plugin"
check_arrivals
all=$((all + $(sum sent)))
assert_eq "$all" $(($(counted fw1 a) + $(counted fw1 b))) "packets that fw1 judged"
assert_eq "$((all - in_b)) $in_b" "$(counted fw2 a) $(counted fw2 b)" "packets that fw2 judged by A and by B"
(($(counted fw1 b) > in_b)) || fail "the packets did not meet the changed rules"

wait "${TRANSFERS[@]}" || true
assert_eq "${#TRANSFERS[@]} 0 4194304" "$(sort "$LAB_DIR/transfers" | uniq -c | xargs)" \
    "transfers, curl's exit code, and bytes"
assert_eq $((first + RELOADS)) "$(generation)" "generation"

measure SIZE
for what in rss_kB fds pins maps programs; do printf '%s %s -> %s\n' "$what" "${WARM_SIZE[$what]}" "${SIZE[$what]}"; done
assert_not_grown fds 0
assert_not_grown pins 0
# Those that nobody but the kernel holds count too, and so do other processes'; one that stays per reload would be seen.
assert_not_grown maps $(((RELOADS - WARM) / 4))
assert_not_grown programs $(((RELOADS - WARM) / 4))
# The first answers to evnfctl take half a MB, after 20 reloads as after 1000; 2 kB a reload would be seen.
assert_not_grown rss_kB 2048
printf '%s transfers, %s s\n' "${#TRANSFERS[@]}" "$SECONDS"
assert_clean

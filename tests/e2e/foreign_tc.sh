#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Somebody else at tc. Who stands in our place is named with a remedy and stays, and the old chain goes on. Who removes
# what is ours does not open the firewall: it is put back and logged.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml

# With eth0 at tc, so that the whole chain hangs on a filter; eth1 at XDP. iptables lets all pass.
configuration() {
    config "$file" <<YAML
ports:
  - {name: eth0, hook: tc, chain: [fw, second]}
  - {name: eth1, chain: [fw, second]}
$([[ -z ${1:-} ]] || echo "  - {name: $1, hook: ${2:-auto}, chain: [fw]}")
plugins:
  fw: {default: netfilter}
  second: {module: fw, default: next, rules: [{name: closed, proto: tcp, dport: 8081, action: drop}]}
YAML
}
get() { client curl -sf --max-time 1 -o /dev/null "http://$S1:$1/"; }
# 8081 is closed by the second stage, which packets meet when they come back from netfilter.
filters() {
    get 8080 || fail "$1: no answer"
    get 8081 && fail "$1: what the chain closes is open"
    return 0
}
program() { vnf tc -j filter show dev "$1" "$2" | jq -r '.[].options.bpf_name // empty | sub(":.*"; "")'; }
refused() {
    ctl reload 2>"$LAB_DIR/refusal" && fail "$1: the reload was not refused"
    local text
    for text in "${@:2}"; do grep -Fq -- "$text" "$LAB_DIR/refusal" || fail "$1: no '$text' in: $(cat "$LAB_DIR/refusal")"; done
    assert_eq "$generation" "$(generation)" "$1: generation"
    filters "$1"
}
# displace FILTER-COMMAND…: in place of what is ours, before evnfd can put that back.
displace() {
    kill -STOP "$EVNFD_PID"
    vnf tc filter del dev eth2 "$1" pref 1 2>/dev/null || true
    vnf tc filter add dev eth2 "$@"
    kill -CONT "$EVNFD_PID"
}

configuration
start_evnfd "$file"
generation=$(generation)
filters "at first"

# A program of somebody else's at our very place, and one for another protocol with our priority.
configuration eth2 tc
bpftool prog load "$EVNF_BUILD/tests/e2e/foreign_tc_bpf.bpf.o" "$LAB_DIR/bpf/foreign"
for point in ingress egress; do
    displace $point pref 1 handle 0xe5f1 bpf object-pinned "$LAB_DIR/bpf/foreign" direct-action
    refused "a foreign program at $point" "eth2: another filter stands at tc $point, priority 1, handle 0xe5f1" \
        "tc filter del dev eth2 $point pref 1"
    assert_eq foreign "$(program eth2 $point)" "the foreign program at $point"
    displace $point pref 1 protocol ip bpf object-pinned "$LAB_DIR/bpf/foreign" direct-action
    refused "a foreign filter at $point" "eth2: another filter stands at tc $point, priority 1" "tc filter del dev eth2 $point pref 1"
    vnf tc filter del dev eth2 $point pref 1
done
ctl reload >/dev/null || fail "no reload once the foreign filters are gone"
assert_eq evnf_entry "$(program eth2 ingress)" "program at ingress of eth2"
configuration
ctl reload >/dev/null

# An ingress qdisc where ours would be. It takes filters for egress, and runs them at ingress.
kill -STOP "$EVNFD_PID"
vnf tc qdisc del dev eth2 clsact
vnf tc qdisc add dev eth2 ingress
kill -CONT "$EVNFD_PID"
assert_eventually "grep -q \"eth2: an 'ingress' qdisc stands in the place of 'clsact'\" '$EVNFD_LOG'" "the ingress qdisc in the log"
configuration eth2 tc
generation=$(generation)
refused "an ingress qdisc" "eth2: an 'ingress' qdisc stands in the place of 'clsact'" "tc qdisc del dev eth2 ingress"
vnf tc qdisc del dev eth2 ingress
ctl reload >/dev/null || fail "no reload once the ingress qdisc is gone"

# Our qdisc and our filters are removed.
for interface in eth0 eth1; do
    entry=$(program $interface ingress)
    vnf tc qdisc del dev $interface clsact
    assert_eventually "[[ \$(program $interface ingress) == $entry && \$(program $interface egress) == evnf_resume ]]" \
        "the filters of $interface are back"
    filters "qdisc of $interface removed"
    for point in ingress egress; do
        grep -q "$interface: somebody removed eVNF's filter at tc $point" "$EVNFD_LOG" || fail "nothing in the log of $interface, $point"
        vnf tc filter del dev $interface $point pref 1
        assert_eventually "[[ -n \$(program $interface $point) ]]" "the filter of $interface at $point is back"
    done
    filters "filters of $interface removed"
done
assert_clean

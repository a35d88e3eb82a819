#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# More events of the kernel's tables than evnfd's socket holds: it says so and reads the tables anew; traffic goes on,
# by next hops that are right, and what became of interfaces and filters meanwhile is made good.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
config "$LAB_DIR/evnf.yaml" <<YAML
ports:
  - {name: eth0, chain: [fw, dpi]}
  - {name: eth1, chain: [fw, dpi]}
  - {name: eth2, chain: [fw, dpi]}
plugins:
  fw: {default: netfilter, rules: [{name: stream, proto: udp, dport: 9000, action: allow}]}
  dpi: {}
YAML
# 10.4.0.2 is on both servers, and moves from one to the other by a route. Each counts what it gets for it.
for host in s1 s2; do
    in_ns $host ip addr add 10.4.0.2/32 dev lo
    in_ns $host iptables -A INPUT -d 10.4.0.2
done
arrived() { in_ns "$1" iptables -nvxL INPUT | awk '/10\.4\.0\.2/ { print $1 }'; }
vnf ip route add 10.4.0.2 via "$S1"
for host in $S1 $S2; do vnf ping -q -c 1 -W 2 "$host" >/dev/null || fail "no way to $host"; done
start_evnfd "$LAB_DIR/evnf.yaml"
start_stream moved client "s1 s2" 10.4.0.2:9000 "$S1:9000"
assert_eventually '(($(arrived s1) > 100))' "the stream goes to s1"

kill -STOP "$EVNFD_PID"
for ((i = 0; i < 40000; i++)); do echo "route add 10.99.$((i / 256)).$((i % 256))/32 dev eth1"; done | vnf ip -batch -
# The last that it would be told of, had it room.
vnf ip route replace 10.4.0.2 via "$S2"
vnf ip link add new0 type veth peer name new1
vnf tc qdisc del dev eth0 clsact
kill -CONT "$EVNFD_PID"
assert_eventually "grep -q 'routing: .*No buffer space available; reading the kernel.s tables anew' '$EVNFD_LOG'" "the overrun in the log"
assert_eventually '(($(arrived s2) > 0))' "the stream goes to s2"
before=$(arrived s1) after=$(arrived s2) # and nothing more by the old next hop
assert_eventually '(($(arrived s2) > after + 500))' "the stream goes on to s2"
assert_eq "$before" "$(arrived s1)" "packets to where the route led before"
resumes() { vnf tc -j filter show dev "$1" egress | jq -e '[.[].options.bpf_name // empty] | length == 1' >/dev/null; }
for interface in new0 new1 eth0; do assert_eventually "resumes $interface" "a resume filter on $interface"; done
ctl reload >/dev/null || fail "no reload after the overrun"
finish_stream moved
assert_clean

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `evnfctl fw import` of a company's 500 rules: iptables in a namespace and the imported chain give the same verdict
# for each of 100,000 random packets. What the chain leaves to netfilter is iptables' own verdict, and counted.
source "$(dirname "$0")/../lab/lab.sh"
PACKETS=${PACKETS:-100000}
SEED=${SEED:-$RANDOM}
rules=$LAB_DIR/rules.v4 capture=$LAB_DIR/packets.pcap
lab_up

bash "$LAB_SOURCE/iptables_rules.sh" >"$rules"
(($(grep -c '^-A' "$rules") >= 500)) || fail "the file has fewer than 500 rules"
"$EVNFCTL" fw import iptables-save "$rules" >"$LAB_DIR/fw.yaml" 2>"$LAB_DIR/report" || fail "import: $(cat "$LAB_DIR/report")"
cat "$LAB_DIR/report"
for left in '-o eth1' '-m length' '-m limit' '-j NFLOG' '-j LOG' 'chain INPUT' 'table nat'; do
    grep -qe "$left" "$LAB_DIR/report" || fail "the report does not name what stays: $left"
done
config "$LAB_DIR/evnf.yaml" < <(printf 'ports:\n  - {name: eth0, chain: [fw]}\n  - {name: eth1, chain: [fw]}\n'; cat "$LAB_DIR/fw.yaml")
"$EVNFD" --check -c "$LAB_DIR/evnf.yaml" || fail "evnfd does not accept what was imported"

# iptables: every packet is the only one of its connection, and TCP without SYN is nobody's.
vnf iptables-restore <"$rules"
vnf sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0
vnf ip route add default via 10.3.1.2
vnf ip neigh replace 10.3.1.2 dev eth1 lladdr "$(s1 ip -j link show eth0 | jq -r '.[0].address')" nud permanent
mac=$(vnf ip -j link show eth0 | jq -r '.[0].address')
verdicts=$EVNF_BUILD/bin/evnf_verdicts
"$verdicts" write --rules "$rules" --to "$mac" --count "$PACKETS" --seed "$SEED" "$capture"
"$verdicts" send --from "/run/netns/$LAB-client" --at "/run/netns/$LAB-s1" "$capture" >"$LAB_DIR/theirs"

# eVNF: the same packets.
"$EVNFD" --replay "$capture" -c "$LAB_DIR/evnf.yaml" --port eth0 --json >"$LAB_DIR/replay" || fail "the replay failed"
jq -r 'select(.packet) | "\(.verdict) \(.fw.rule // .reason)"' "$LAB_DIR/replay" >"$LAB_DIR/ours"

assert_eq "$PACKETS $PACKETS" "$(wc -l <"$LAB_DIR/theirs") $(wc -l <"$LAB_DIR/ours")" "verdicts of iptables and of eVNF"
paste -d' ' "$LAB_DIR/theirs" "$LAB_DIR/ours" | awk '
    { all[$2]++; rules[$3] }
    $2 == "kernel" { next }
    { same = ($2 == "reply" ? "drop" : $2) == $1 }
    !same && wrong++ < 10 { printf "packet %d: iptables %s, eVNF %s by %s\n", NR, $1, $2, $3 }
    END {
        printf "%d packets: %d forward, %d drop, %d reply, %d left to netfilter, by %d rules; %d differ\n",
            NR, all["forward"], all["drop"], all["reply"], all["kernel"], length(rules), wrong
        exit wrong || all["kernel"] * 10 > NR || all["forward"] * 10 < NR || all["drop"] * 10 < NR
    }' || fail "iptables and eVNF differ, or hardly any packet is told from another (SEED=$SEED)"

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Chain [fw (default: netfilter), dpi, lb]: iptables decides by connection state under the VIP's address, as in a
# firewall VM before a load-balancer VM; what it accepts meets the rest of the chain. At HOOK, which a script that
# includes this one may set.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
sed "/^  fw:/,/^  dpi:/ { /^    /d; s/^  fw:/  fw: {default: netfilter}/ }
    s/chain:/hook: ${HOOK:-auto}, chain:/" "$LAB_SOURCE/chain.yaml" | config "$LAB_DIR/evnf.yaml"

# What an operator of iptables has: state decides, and marks of his own; --set-mark overwrites all bits of the mark.
for iptables in iptables ip6tables; do
    vnf $iptables -P FORWARD DROP
    vnf $iptables -t mangle -A PREROUTING -j MARK --set-mark 0x51
    vnf $iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP
    vnf $iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
done
vnf iptables -A FORWARD -p tcp -d "$VIP" --dport 80 -m conntrack --ctstate NEW -m mark --mark 0x51 -j ACCEPT
vnf ip6tables -A FORWARD -p tcp -d "$VIP6" --dport 80 -m conntrack --ctstate NEW -j ACCEPT
vnf iptables -A FORWARD -p tcp -d "$S1" --dport 8080 -m conntrack --ctstate NEW -j ACCEPT
vnf iptables -A FORWARD -p tcp -d "$VIP" --dport 443 -j REJECT --reject-with tcp-reset
start_evnfd "$LAB_DIR/evnf.yaml"

# Real traffic to the VIPs: long connections and short ones.
answers=$(for _ in {1..40}; do client curl -sf --max-time 2 "http://[$VIP6]/"; done | sort -u | tr '\n' ' ')
assert_eq "s1 s2 " "$answers" "servers that answer under the IPv6 address"
start_load web 4 "http://$VIP/" -H 'Connection: close'
finish_load
assert_load_clean "web service through iptables"
answers=$(for _ in {1..40}; do client curl -sf --max-time 2 "http://$VIP/"; done | sort -u | tr '\n' ' ')
assert_eq "s1 s2 " "$answers" "servers that answer under the VIP"

# netfilter saw the client and the VIP, in both directions, and never a server behind it.
client curl -sf -o "$LAB_DIR/slow" "http://$VIP/slow" &
download=$!
established() { vnf conntrack -L -p tcp --state ESTABLISHED -d "$VIP" 2>/dev/null | grep -c "src=$VIP dst=10.1.0.2"; }
assert_eventually '(($(established) > 0))' "an ESTABLISHED entry of client and VIP"
assert_eq 0 "$(vnf conntrack -L -p tcp --orig-port-dst 80 2>/dev/null | grep -c "dst=$S1\|dst=$S2")" "conntrack entries of servers"
vnf iptables -nvxL FORWARD | awk '$3 == "ACCEPT" && /ESTABLISHED/ { exit !($1 > 1000) }' || fail "iptables did not see the traffic"
wait "$download" || fail "the download through iptables failed"

# DROP and REJECT: what iptables refuses never reaches lb.
vnf iptables -I FORWARD 1 -p tcp -d "$VIP" --dport 7777 -j DROP
client curl -s --max-time 1 "http://$VIP:7777/" && fail "a dropped port answers"
status=0
client curl -sk --max-time 3 "https://$VIP/" || status=$?
assert_eq 7 "$status" "curl's exit status where iptables rejects with a reset"
assert_json '[.[] | select(.service == "tls") | .packets] == [0, 0]' "$(ctl lb backends --json)" "packets that lb saw of a refused service"

# A NAT rule of the user's for what is no VIP: the server sees the VNF's own address.
vnf iptables -t nat -A POSTROUTING -o eth1 -p tcp --dport 8080 -j MASQUERADE
assert_eq s1 "$(client curl -sf --max-time 2 "http://$S1:8080/")" "answer through the user's NAT rule"
(($(vnf iptables -t nat -nvxL POSTROUTING | awk '/MASQUERADE/ { print $1 }') > 0)) || fail "the NAT rule was not used"

# dpi and lb saw what came back, once: no packet more than the firewall before them.
stats=$(ctl stats --json)
assert_json '[.ports[0] | .resumed > 1000, .resumed <= .kernel] == [true, true]' "$stats" "packets came back from the kernel"
assert_json '([.stages[] | {(.name): .packets}] | add) as $seen | $seen.lb > 1000 and $seen.dpi >= $seen.lb' "$stats" "stages behind netfilter"
assert_json '[.drops[] | select(.reason == "not_resumable" or .reason == "resume_lost" or .reason == "stale_generation")] == []' "$stats" "all came back"

# Somebody's filter that resets tc_index: what would pass by dpi and lb is dropped by name, and passes when it is gone.
lost() { ctl stats --json | jq '[.drops[] | select(.reason == "resume_lost") | .packets] | add // 0'; }
vnf tc filter add dev eth0 ingress pref 10 bpf da bytecode '1,6 0 0 0,' # TC_ACT_OK, always
assert_eventually 'client curl -s --max-time 1 "http://$VIP/" >/dev/null; (($(lost) > 0))' "packets are dropped as resume_lost"
vnf tc filter del dev eth0 ingress pref 10
client curl -sf --max-time 3 "http://$VIP/" >/dev/null || fail "no answer once the filter is gone"
vnf ip -j route show "$VIP" | jq -e '.[0].dev == "evnf0"' >/dev/null || fail "the VIP is not routed to evnf0"
assert_clean

# Nothing stays behind.
ctl detach
assert_eventually '[[ -z $(vnf ip -j link show evnf0 2>/dev/null) ]]' "evnf0 goes with evnfctl detach"
assert_eq "" "$(vnf tc qdisc show | grep clsact || true)" "qdiscs after evnfctl detach"

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# hook: tc among containers: packets of 64 kB with a checksum that the interface is to complete, and VLAN tags beside
# the frame. Every byte arrives, packets stay large, and rules, labels and counters are those of the XDP hook.
# shellcheck disable=SC2034 # read by lab.sh
LAB_OFFLOADS=on
source "$(dirname "$0")/../lab/lab.sh"
readonly BULK=24000000 MTU=1500

# configuration FW: the chain of most tests at tc, with FW's settings in the place of its own if given.
configuration() {
    sed "s/chain:/hook: tc, chain:/
        s/dport: \[80, 443\]/dport: [80, 443, 9000]/
        s/^    rules:/&\n      - {name: tagged, vlan: 7, action: drop}\n      - {name: ping, proto: icmp, action: allow}/
        s/dst: 10.3.0.0.16, proto: tcp, dport: 8080/dst: 10.3.0.0\/16, proto: tcp, dport: [8080, 9000]/
        ${1:+/^  fw:/,/^  dpi:/ { /^    /d; s/^  fw:/  fw: $1/ \}}" "$LAB_SOURCE/chain.yaml"
    cat <<'YAML'
      - {name: digest, vip: 10.2.0.2, port: 9000, proto: tcp, backends: [{name: s1, address: 10.3.1.2}, {name: s2, address: 10.3.2.2}]}
      - {name: digest6, vip: "2001:db8:2::2", port: 9000, proto: tcp, backends: [{name: s1, address: "2001:db8:31::2"}, {name: s2, address: "2001:db8:32::2"}]}
YAML
}

lab_up
start_nginx s1 s2
start_digest s1 s2
head -c $BULK /dev/urandom >"$LAB_DIR/bulk"
for host in s1 s2; do cp "$LAB_DIR/bulk" "$LAB_DIR/$host/html/bulk"; done
digest=$(sha256sum <"$LAB_DIR/bulk" | cut -c-64)
configuration | config "$LAB_DIR/evnf.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"
assert_json '[.ports[].hook] | unique == ["tc"]' "$(ctl status --json)" "the hook in use"

port() { ctl stats --json | jq ".ports[] | select(.name == \"$1\") | .$2"; }
left_by() { ctl stats --json | jq "[.kernel[] | select(.stage == \"$1\" and .reason == \"$2\") | .packets] | add // 0"; }
received() { in_ns "$1" ip -s -j link show eth0 | jq ".[0].stats64.rx.$2"; }

# transfer_both_ways HOST: of many MB each arrives as it was sent.
transfer_both_ways() {
    assert_eq "$digest" "$(digest_of "$1" <"$LAB_DIR/bulk")" "digest of what was sent to $1"
    assert_eq "$digest" "$(client curl -sf --max-time 20 "http://$1/bulk" | sha256sum | cut -c-64)" "digest of what came from $1"
}

# Content, both directions, both IP versions, translated by lb.
before=$(received client packets)
packets=$(port eth0 packets) bytes=$(port eth0 bytes)
transfer_both_ways "$VIP"
transfer_both_ways "[$VIP6]"
packets=$(($(port eth0 packets) - packets)) bytes=$(($(port eth0 bytes) - bytes))

# They were never cut: fewer packets than MTUs by far, at the port and behind it.
((bytes > 2 * BULK)) || fail "eth0 counted $bytes bytes of $((2 * BULK))"
((bytes / packets > 2 * MTU)) || fail "packets of $((bytes / packets)) bytes at eth0: no GSO"
((($(received client packets) - before) < 2 * BULK / MTU / 2)) || fail "the client received segments"
assert_eq 0 "$(left_by forwarder fragmentation_needed)" "packets found too large whose segments are not"

# What dpi counts of such packets.
flow() { ctl dpi flows --json | jq "[.[] | select(.dport == $1 or .sport == $1)]"; }
assert_json "map(select(.bytes > $BULK and .bytes < $BULK * 1.1 and .packets < $BULK / $MTU)) | length == 2" "$(flow 9000)" \
    "bytes and packets of the uploads"

# Labels.
client curl -skf --max-time 3 --resolve "shop.example:443:$VIP" https://shop.example/ >/dev/null || fail "no answer over TLS"
assert_eventually '[[ $(flow 443 | jq -r ".[0] | .app[:3] + .sni") == TLSshop.example ]]' "the name of the TLS flow"
assert_eventually '[[ $(flow 80 | jq "map(select(.app | startswith(\"HTTP\"))) | length") != 0 ]]' "a flow named HTTP"

# UDP.
s1 socat UDP4-RECVFROM:7,fork SYSTEM:'cat >/dev/null; echo s1' &
s2 socat UDP4-RECVFROM:7,fork SYSTEM:'cat >/dev/null; echo s2' &
ask_echo() { client bash -c 'exec 3<>"/dev/udp/$1/7"; echo ask >&3; timeout 2 head -n 1 <&3' -- "$VIP"; }
assert_eventually '[[ -n $(ask_echo) ]]' "an answer of the UDP service"
assert_eq "s1 s2 " "$(for _ in {1..16}; do ask_echo; done | sort -u | tr '\n' ' ')" "servers that answer the UDP service"

# Rules drop, and count.
before=$(rule_packets blocked)
client curl -s --max-time 1.5 "http://$S1:8081/" && fail "port 8081 is open"
(($(rule_packets blocked) > before)) || fail "the rule 'blocked' counted nothing"

# A VLAN tag that the kernel has taken out of the frame.
bpftool prog load "$EVNF_BUILD/tests/e2e/tagger_bpf.bpf.o" "$LAB_DIR/bpf/tagger"
client tc qdisc add dev eth0 clsact
client ping -q -c 2 -i 0.2 -W 2 "$S1" >/dev/null || fail "no answer to ping"
assert_eq 0 "$(rule_packets tagged)" "packets of VLAN 7 before there are any"
client tc filter add dev eth0 egress bpf direct-action object-pinned "$LAB_DIR/bpf/tagger"
client ping -q -c 2 -i 0.2 -W 1 "$S1" >/dev/null && fail "a ping in VLAN 7 passes"
assert_eq 2 "$(rule_packets tagged)" "packets that the rule for VLAN 7 counted"
client tc qdisc del dev eth0 clsact

# A smaller MTU behind: the sender is told, for a packet and for segments, and what it sends then passes whole.
vnf ip link set eth2 mtu 1300
status=$(client ping -c 1 -W 2 -M "do" -s 1400 "$S2" || true)
[[ $status == *"mtu = 1300"* ]] || fail "no word about the MTU: $status"
client ip route flush cache
before=$(left_by forwarder fragmentation_needed)
assert_eq "$digest" "$(digest_of "$S2" <"$LAB_DIR/bulk")" "digest of what was sent over the smaller MTU"
after=$(left_by forwarder fragmentation_needed)
((after > before && after - before < 100)) || fail "$((after - before)) packets were found too large"
assert_clean

# The middle of the chain by way of netfilter.
vnf iptables -P FORWARD DROP
vnf iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
vnf iptables -A FORWARD -p tcp -d "$VIP" -m multiport --dports 80,9000 -m conntrack --ctstate NEW -j ACCEPT
vnf ip link set eth2 mtu $MTU
configuration '{default: netfilter}' | config "$LAB_DIR/evnf.yaml"
reload
before=$(port eth0 resumed)
transfer_both_ways "$VIP"
transfer_both_ways "[$VIP6]"
resumed=$(($(port eth0 resumed) - before))
((resumed > 100 && resumed < 2 * BULK / MTU)) || fail "$resumed packets came back from netfilter"
client curl -s --max-time 1 "https://$VIP/" && fail "a port answers that iptables drops"
assert_clean

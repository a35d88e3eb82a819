#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# DNS servers behind a VIP: dnsperf's load, answers so large that they come in fragments, and refused ports, in dnat and
# fullnat, IPv4 and IPv6.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
text=$(head -c 250 /dev/zero | tr '\0' t)
{
    printf 'address=/www.evnf.test/192.0.2.80\n'
    for _ in {1..12}; do printf 'txt-record=big.evnf.test,%s\n' "$text"; done
} >"$LAB_DIR/dns.conf"
for host in s1 s2; do
    in_ns "$host" dnsmasq --keep-in-foreground --conf-file="$LAB_DIR/dns.conf" --no-resolv --no-hosts --bind-interfaces \
        --edns-packet-max=4096 --user=root --pid-file="$LAB_DIR/$host.pid" &
    wait_until "[[ -n \$(in_ns $host ss -Hlun sport = :53) ]]" 10 || fail "dnsmasq did not start on $host"
done
ask() { client dig +tries=1 +time=2 +notcp +ignore "$@"; }
printf 'www.evnf.test A\n' >"$LAB_DIR/queries"

for mode in dnat fullnat; do
    config "$LAB_DIR/evnf.yaml" <<YAML
ports: [{name: eth0, chain: [lb]}, {name: eth1, chain: [lb]}, {name: eth2, chain: [lb]}]
plugins:
  lb:
    nat_pool: [10.9.0.0/30, "2001:db8:9::/126"]
    services:
      - name: dns
        vip: $VIP
        port: 53
        proto: udp
        mode: $mode
        backends: [{name: s1, address: $S1}, {name: s2, address: $S2}]
      - name: dns6
        vip: "$VIP6"
        port: 53
        proto: udp
        mode: $mode
        backends: [{name: s1, address: "2001:db8:31::2"}, {name: s2, address: "2001:db8:32::2"}]
      - {name: nobody, vip: $VIP, port: 5999, proto: udp, mode: $mode, backends: [{name: s1, address: $S1}]}
      - {name: nobody6, vip: "$VIP6", port: 5999, proto: udp, mode: $mode, backends: [{name: s1, address: "2001:db8:31::2"}]}
YAML
    start_evnfd "$LAB_DIR/evnf.yaml"
    for vip in "$VIP" "$VIP6"; do
        assert_eq 192.0.2.80 "$(ask +short @"$vip" www.evnf.test A)" "$mode: an answer of $vip"
        client dnsperf -s "$vip" -d "$LAB_DIR/queries" -l 2 -c 20 -q 100 >"$LAB_DIR/dnsperf" 2>&1 || fail "dnsperf: $(cat "$LAB_DIR/dnsperf")"
        grep -q 'Queries lost: *0 ' "$LAB_DIR/dnsperf" || fail "$mode: $vip lost queries: $(cat "$LAB_DIR/dnsperf")"
        grep -q 'Response codes: *NOERROR .*(100.00%)' "$LAB_DIR/dnsperf" || fail "$mode: $vip: $(cat "$LAB_DIR/dnsperf")"
        for _ in {1..8}; do # both servers, most likely
            ask +bufsize=4096 @"$vip" big.evnf.test TXT >"$LAB_DIR/big" || fail "$mode: no large answer of $vip"
            assert_eq 12 "$(grep -o "$text" "$LAB_DIR/big" | wc -l)" "$mode: parts of the large answer of $vip"
        done
        ask -p 5999 @"$vip" www.evnf.test >"$LAB_DIR/refused" && fail "$mode: somebody answers at $vip port 5999"
        grep -q 'connection refused' "$LAB_DIR/refused" || fail "$mode: no error came back from $vip: $(cat "$LAB_DIR/refused")"
        # The VIP itself answers to ping, whatever the size of one packet.
        client ping -qc 3 -i 0.2 -W 1 -s 1400 "$vip" >"$LAB_DIR/ping" || fail "$mode: ping $vip: $(cat "$LAB_DIR/ping")"
    done
    assert_json '[.[] | select(.service | startswith("dns")) | .packets > 100] | all' "$(ctl lb backends --json)" "$mode: all servers answer"
    assert_clean
    stop_evnfd
done

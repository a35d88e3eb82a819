#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Datagrams that are larger than the links' MTU, to a service and back, in dnat, fullnat and, to this machine's own
# stack, local; IPv4 and IPv6.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
OWN=10.2.0.9 OWN6=2001:db8:2::9
vnf ip addr add "$OWN/32" dev lo
vnf ip addr add "$OWN6/128" dev lo
# echoes HOST PORT [BIND]: each datagram that comes is sent back.
echoes() {
    in_ns "$1" socat -b 65536 "UDP6-RECVFROM:$2,fork,ipv6only=0${3:+,bind=$3}" EXEC:cat &
    wait_until "[[ -n \$(in_ns $1 ss -Hlun sport = :$2) ]]" 10 || fail "no echo server on $1"
}
echoes s1 7
echoes vnf 7 "[::ffff:$OWN]"
echoes vnf 8 "[$OWN6]"
config "$LAB_DIR/evnf.yaml" <<YAML
ports: [{name: eth0, chain: [lb]}, {name: eth1, chain: [lb]}, {name: eth2, chain: [lb]}]
plugins:
  lb:
    nat_pool: [10.9.0.1, "2001:db8:9::1"]
    services:
      - {name: one, vip: $VIP, port: 7, proto: udp, backends: [{name: s1, address: $S1}]}
      - {name: one6, vip: "$VIP6", port: 7, proto: udp, backends: [{name: s1, address: "2001:db8:31::2"}]}
      - {name: both, vip: $VIP, port: 77, proto: udp, mode: fullnat, backends: [{name: s1, address: $S1, port: 7}]}
      - {name: both6, vip: "$VIP6", port: 77, proto: udp, mode: fullnat, backends: [{name: s1, address: "2001:db8:31::2", port: 7}]}
      - {name: own4, vip: $OWN, port: 7, proto: udp, mode: local}
      - {name: own6, vip: "$OWN6", port: 8, proto: udp, mode: local}
YAML
start_evnfd "$LAB_DIR/evnf.yaml"

head -c 7000 /dev/urandom | base64 -w 0 | head -c 8000 >"$LAB_DIR/datagram"
# echoed ADDRESS PORT: the datagram comes back, whole.
echoed() {
    client socat -b 65536 -t 1 - "UDP:$1:$2" <"$LAB_DIR/datagram" >"$LAB_DIR/echo"
    cmp -s "$LAB_DIR/datagram" "$LAB_DIR/echo" || fail "$1 port $2: $(wc -c <"$LAB_DIR/echo") bytes came back"
}
for port in 7 77; do
    echoed "$VIP" $port
    echoed "[$VIP6]" $port
done
echoed "$OWN" 7
echoed "[$OWN6]" 8
assert_json 'all(.[]; .packets == 12)' "$(ctl lb backends --json)" "each datagram came and went in six fragments"
assert_json '.drops == []' "$(ctl stats --json)" "nothing is dropped"
assert_clean

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# fullnat: servers whose gateway is elsewhere, and a server that is a client of its own VIP.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
config "$LAB_DIR/evnf.yaml" <<YAML
ports: [{name: eth0, chain: [lb]}, {name: eth1, chain: [lb]}, {name: eth2, chain: [lb]}]
plugins:
  lb:
    nat_pool: [10.9.0.1, "2001:db8:9::1"]
    services:
      - {name: web, vip: $VIP, port: 80, proto: tcp, mode: fullnat, backends: [{name: s1, address: $S1}, {name: s2, address: $S2}]}
      - {name: own, vip: $VIP, port: 81, proto: tcp, mode: fullnat, backends: [{name: s1, address: $S1, port: 80}]}
      - {name: web6, vip: "$VIP6", port: 80, proto: tcp, mode: fullnat, backends: [{name: s1, address: "2001:db8:31::2"}, {name: s2, address: "2001:db8:32::2"}]}
      - {name: own6, vip: "$VIP6", port: 81, proto: tcp, mode: fullnat, backends: [{name: s1, address: "2001:db8:31::2", port: 80}]}
YAML
start_evnfd "$LAB_DIR/evnf.yaml"

# The servers know the way to the pool and, as clients, to the VIPs; to the clients they know none.
for server in "s1 10.3.1.1 2001:db8:31::1" "s2 10.3.2.1 2001:db8:32::1"; do
    read -r host gateway gateway6 <<<"$server"
    in_ns "$host" ip route delete default
    in_ns "$host" ip -6 route delete default
    for address in 10.9.0.1 "$VIP"; do in_ns "$host" ip route add "$address" via "$gateway"; done
    for address in 2001:db8:9::1 "$VIP6"; do in_ns "$host" ip -6 route add "$address" via "$gateway6"; done
done
client ping -qc 1 -W 1 "$S1" >/dev/null && fail "s1 knows a way to the client"

for vip in "$VIP" "[$VIP6]"; do
    answers=$(for _ in {1..40}; do client curl -sf --max-time 2 "http://$vip/"; done | sort -u | tr '\n' ' ')
    assert_eq "s1 s2 " "$answers" "servers that answer under $vip"
    assert_eq s1 "$(s1 curl -sf --max-time 2 "http://$vip:81/")" "s1 reaches itself under $vip"
    answers=$(for _ in {1..40}; do s1 curl -sf --max-time 2 "http://$vip/"; done | sort -u | tr '\n' ' ')
    assert_eq "s1 s2 " "$answers" "servers that answer one of them under $vip"
done
# Ports come back: more connections one after the other than could be open at once are no matter.
start_load web 3 "http://$VIP/" -H 'Connection: close'
finish_load
assert_load_clean "new connections from one pool address"
assert_json 'all(.[]; .client != "10.9.0.1")' "$(ctl lb connections --json)" "connections show their clients, not the pool"
assert_clean

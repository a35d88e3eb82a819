#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Real clients through a stateful fw alone: web, DNS and ping begin connections, answers come back, nothing else passes.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1
printf 'address=/www.evnf.test/%s\naddress=/www.evnf.test/2001:db8:31::2\n' "$S1" >"$LAB_DIR/dns.conf"
start_dns() {
    s1 dnsmasq --keep-in-foreground --conf-file="$LAB_DIR/dns.conf" --no-resolv --no-hosts --bind-interfaces --user=root \
        --pid-file="$LAB_DIR/dns.pid" &
    wait_until "[[ -n \$(s1 ss -Hlun sport = :53) ]]" 10 || fail "dnsmasq did not start"
}
start_dns
configure() { # OTHER SETTINGS
    config "$LAB_DIR/evnf.yaml" <<YAML
ports: [{name: eth0, chain: [fw]}, {name: eth1, chain: [fw]}, {name: eth2, chain: [fw]}]
plugins:
  fw:
    default: drop
    $1
    rules:
      - {name: invalid, state: invalid, action: drop}
      - {name: answers, state: established, action: allow}
      - {name: errors, state: related, action: allow}
      - {name: web, proto: tcp, dport: 80, state: new, in_port: eth0, action: allow}
      - {name: dns, proto: [tcp, udp], dport: 53, state: new, in_port: eth0, action: allow}
      - {name: ping, proto: [icmp, icmpv6], icmp_type: echo-request, state: new, in_port: eth0, limit: {rate: 20/s, burst: 10, per: src}, action: allow}
YAML
}
configure ""
start_evnfd "$LAB_DIR/evnf.yaml"

# What is allowed works, over both families.
assert_eq s1 "$(client curl -s --max-time 3 "http://$S1/")" "web over IPv4"
assert_eq s1 "$(client curl -s --max-time 3 "http://[2001:db8:31::2]/")" "web over IPv6"
assert_eq "$S1" "$(client dig +short +time=2 +tries=1 @"$S1" www.evnf.test A)" "DNS over UDP"
assert_eq 2001:db8:31::2 "$(client dig +tcp +short +time=2 +tries=1 @2001:db8:31::2 www.evnf.test AAAA)" "DNS over TCP and IPv6"
client ping -qc 5 -i 0.1 -W 1 "$S1" >"$LAB_DIR/ping" || fail "ping: $(cat "$LAB_DIR/ping")"
client ping -qc 5 -i 0.1 -W 1 2001:db8:31::2 >"$LAB_DIR/ping" || fail "ping over IPv6: $(cat "$LAB_DIR/ping")"
# One at a time they all pass, in a flood no more than the limit lets through: 10 at once and 20 a second.
client ping -qf -c 400 -W 1 "$S1" >"$LAB_DIR/ping" || true
received=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$LAB_DIR/ping")
((received >= 10 && received < 200)) || fail "a flood of pings is not limited: $(cat "$LAB_DIR/ping")"
# Fragments follow their first, in both directions.
assert_eventually 'client ping -qc 1 -W 1 "$S1" >/dev/null' "ping comes through again"
client ping -qc 3 -i 0.2 -W 1 -s 4000 "$S1" >"$LAB_DIR/ping" || fail "ping with fragments: $(cat "$LAB_DIR/ping")"

# Nothing else passes: other ports, the other direction, segments of no connection. (Before the load below: a scan from the
# port of a connection that has just closed would pass as a part of it.)
client curl -s --max-time 1 "http://$S1:8080/" && fail "port 8080 is open"
s1 ping -qc 1 -W 1 10.1.0.2 >/dev/null && fail "the server may ping the client"
client nmap -n -Pn -sS -T4 --max-retries 1 -p 22,53,80,443,8080-8082,9999 "$S1" -oG - >"$LAB_DIR/scan"
assert_eq "53/open/tcp 80/open/tcp" "$(grep -o '[0-9]*/open/tcp' "$LAB_DIR/scan" | paste -sd' ')" "ports that a SYN scan finds open"
for scan in -sA -sF -sN -sX -sM; do
    client nmap -n -Pn "$scan" -T4 --max-retries 0 -p 53,80,8080 "$S1" -oG - >"$LAB_DIR/scan"
    grep -qE '[0-9]+/(open|unfiltered|closed)/' "$LAB_DIR/scan" && fail "nmap $scan sees through: $(cat "$LAB_DIR/scan")"
done
(($(rule_packets invalid) > 0)) || fail "no scan was invalid"

# A keep-alive load and one of new connections.
start_load keep 2 "http://$S1/"
finish_load
assert_load_clean "kept connections"
start_load new 2 "http://$S1/" -H 'Connection: close'
finish_load
assert_load_clean "new connections"

# An ICMP error about a packet that was let through reaches who sent it: nobody listens at s2.
for address in "$S2" 2001:db8:32::2; do
    client dig +time=2 +tries=1 @"$address" www.evnf.test >"$LAB_DIR/dig" && fail "somebody answers at $address"
    grep -q 'connection refused' "$LAB_DIR/dig" || fail "no error reached the client: $(cat "$LAB_DIR/dig")"
done
(($(rule_packets errors) >= 2)) || fail "the errors were not related"

# A connection lives through reloads and the death of evnfd; a second evnfd adopts it.
client curl -s --max-time 20 "http://$S1/slow" -o "$LAB_DIR/slow" &
download=$!
assert_eventually '[[ -s $LAB_DIR/slow ]]' "the slow download begins"
configure "max_connections: 2000000"
reload
end_evnfd KILL
start_evnfd "$LAB_DIR/evnf.yaml"
assert_json 'length > 0 and all(.[]; .proto == "tcp" and .state == "established")' \
    "$(ctl fw connections tcp established --json)" "the connection is known"
wait "$download" || fail "the download did not live through reload and restart"
assert_eq 4194304 "$(stat -c %s "$LAB_DIR/slow")" "bytes of the slow download"
assert_json '.refused == 0 and .opened > 100 and .moved > 100' "$(ctl fw tracking --json)" "connections are counted"
assert_clean

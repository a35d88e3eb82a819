#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# fw's reject tells clients at once, at XDP and at tc with checksums left to the interface; limit lets pass what it says;
# log tells of what was rejected.
source "$(dirname "$0")/../lab/lab.sh"

write_config() {
    config "$LAB_DIR/evnf.yaml" <<YAML
ports:
  - {name: eth0, hook: $1, chain: [fw]}
  - {name: eth1, hook: $1, chain: [fw]}
plugins:
  fw:
    default: next
    rules:
      - {name: no-web, in_port: eth0, proto: tcp, dport: [8080, 9000], action: reject, log: true}
      - {name: no-dns, in_port: eth0, proto: udp, dport: 53, action: reject}
      - {name: ping, in_port: eth0, proto: [icmp, icmpv6], icmp_type: echo-request, limit: {rate: 10/s, burst: 5, per: src}, action: allow}
      - {name: no-ping, in_port: eth0, proto: [icmp, icmpv6], icmp_type: echo-request, action: drop}
YAML
}

# refused_at_once WHAT COMMAND…: the command fails, and before a client would give up waiting.
refused_at_once() {
    local what=$1 begin
    shift
    begin=$(date +%s%N)
    if "$@" >"$LAB_DIR/refused" 2>&1; then fail "$what: was let through"; fi
    (($(date +%s%N) - begin < 1500000000)) || fail "$what: took too long to be refused"
    grep -qi "refused\|couldn't connect" "$LAB_DIR/refused" || fail "$what: is not told of a refusal: $(cat "$LAB_DIR/refused")"
}

# ask_udp ADDRESS: one datagram to port 53, and then the error that came for it.
ask_udp() {
    client python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect((sys.argv[1], 53))
s.send(b"question" * int(sys.argv[2]))
s.recv(100)' "$1" "$2"
}

rejects() {
    refused_at_once "$1, TCP, IPv4" client curl -sS --max-time 5 "http://$S1:8080/"
    refused_at_once "$1, TCP, IPv6" client curl -sS --max-time 5 "http://[2001:db8:31::2]:8080/"
    local size
    for size in 1 150; do
        refused_at_once "$1, UDP, IPv4, size $size" ask_udp "$S1" "$size"
        refused_at_once "$1, UDP, IPv6, size $size" ask_udp 2001:db8:31::2 "$size"
    done
    assert_eq s1 "$(client curl -sf --max-time 5 "http://$S1/")" "$1: what is not rejected goes on"
}

lab_up
start_nginx s1
write_config native
start_evnfd "$LAB_DIR/evnf.yaml"
rejects "native"

# 5 at once, and 10 a second for the half a second that 50 pings take.
pings=$(client ping -c 50 -i 0.01 -W 1 "$S1" | awk '/received/ { print $4 }')
((pings >= 6 && pings <= 25)) || fail "of 50 pings $pings were answered, of which about 10 are within the limit"
assert_json '.[] | select(.name == "ping") | .over_limit == 50 - .packets' "$(ctl fw rules --json)" "what is over the limit is counted"

assert_eventually '[[ $(ctl fw log --json | jq length) -ge 2 ]]' "the log has the rejected connections"
assert_json '.[0] | .rule == "no-web" and .action == "reject" and .verdict == "reply" and .port == "eth0" and .proto == "tcp" and
    .src == "10.1.0.2" and .dst == "10.3.1.2" and .dport == 8080 and .length >= 60' "$(ctl fw log --json)" "the rejected connection in the log"
(($(ctl fw log | LC_ALL=C.UTF-8 wc -L) <= 100)) || fail "the log is wider than 100 columns"

# --follow shows what comes while it runs.
"$EVNFCTL" -s "$EVNFD_SOCKET" --json fw log -f -n 0 >"$LAB_DIR/followed" &
follower=$!
assert_eventually 'client curl -s --max-time 5 "http://$S1:8080/"; [[ -s $LAB_DIR/followed ]]' "a record for who follows"
kill "$follower"
assert_json '.rule == "no-web" and .dport == 8080' "$(head -n 1 "$LAB_DIR/followed")" "what was followed"
assert_clean

# What came back from the kernel behind another firewall, on its way out of eth1, is answered where it came in.
config "$LAB_DIR/evnf.yaml" <<'YAML'
ports:
  - {name: eth0, chain: [fw, late]}
  - {name: eth1, chain: [fw, late]}
plugins:
  fw: {default: netfilter}
  late:
    module: fw
    default: next
    rules:
      - {name: no-web, in_port: eth0, proto: tcp, dport: 8080, action: reject}
      - {name: no-dns, in_port: eth0, proto: udp, dport: 53, action: reject}
YAML
reload
rejects "behind the kernel"
assert_json '.ports[] | select(.name == "eth0") | .resumed > 0 and .reply >= 6' "$(ctl stats --json)" "answers to what came back"
assert_clean

# At tc, what clients leave to the interface is completed behind the chain: checksums of answers must be right nonetheless.
in_ns client ethtool -K eth0 tx on tso on gso on >/dev/null
write_config tc
reload
rejects "tc with offloads"
# A connection that begins before its port is rejected: segments larger than the wire are answered, too.
start_digest s1
sed '/name: no-web/d' "$LAB_DIR/evnf.yaml" >"$LAB_DIR/open.yaml"
cp "$LAB_DIR/evnf.yaml" "$LAB_DIR/closed.yaml"
cp "$LAB_DIR/open.yaml" "$LAB_DIR/evnf.yaml"
reload
(yes | client socat - "TCP:$S1:9000" >"$LAB_DIR/upload" 2>&1; echo "status $?" >>"$LAB_DIR/upload") &
acked() { client ss -Htin dport = :9000 | sed -n 's/.* bytes_acked:\([0-9]*\) .*/\1/p'; }
assert_eventually '(( $(acked) > 1000000 ))' "the upload is under way"
cp "$LAB_DIR/closed.yaml" "$LAB_DIR/evnf.yaml"
reload
assert_eventually 'grep -qi "reset" "$LAB_DIR/upload"' "a connection in the middle of an upload is reset"
assert_clean

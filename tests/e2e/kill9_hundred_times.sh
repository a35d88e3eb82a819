#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9 at a hundred random moments: of a first start, of work, of a reload and of a restart. No packet is lost or
# comes twice, connections live on, and nothing stays pinned that is not used; with iptables in the middle of the chain,
# ports at XDP and one at tc. KILLS and KILL_SEED change how many there are and when.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml
kills=${KILLS:-100}
RANDOM=${KILL_SEED:=$RANDOM}
echo "seed $KILL_SEED"

# Every second reload changes a state map's size, so that its entries move.
another_size() { netfilter_config "$file" $((100000 + 1000 * (RANDOM % 2))); }

# nap MILLISECONDS: a random part of them.
nap() { sleep "$(printf '0.%03d' $((RANDOM % $1)))"; }

# No lab.sh function: the socket may never answer before the kill.
begin_start() {
    nsenter --net="/run/netns/$LAB-vnf" "$EVNFD" -c "$file" --foreground >>"$EVNFD_LOG" 2>&1 &
    EVNFD_PID=$!
}

pins() { (cd "$PIN_DIR" && find . | sed -E 's|^(./chains/)[0-9]+|\1N|' | sort); }
filters() { vnf tc -j filter show dev "$1" "$2" | jq -r '.[].options.bpf_name // empty | select(startswith("evnf_")) | sub(":.*"; "")'; }

# One download of 8 s after another, until it is told to stop.
downloads() {
    until [[ -e $LAB_DIR/stop ]]; do
        client curl -sf -o "$LAB_DIR/download" "http://$VIP/slow" || return
        [[ $(stat -c %s "$LAB_DIR/download") == 4194304 ]] || return
    done
}

vnf iptables -P FORWARD DROP
vnf iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP
vnf iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
vnf iptables -A FORWARD -p tcp -d "$VIP" --dport 80 -m conntrack --ctstate NEW -j ACCEPT
vnf iptables -A FORWARD -p udp -m conntrack --ctstate NEW -j ACCEPT
for host in $S1 $S2 10.1.0.2; do vnf ping -q -c 1 -W 2 "$host" >/dev/null || fail "no way to $host"; done

# When a clsact qdisc comes or goes, the kernel takes the interface out of service for some milliseconds. So it is there
# before and after us, held by a filter of somebody else's.
bpftool prog load "$EVNF_BUILD/tests/e2e/foreign_tc_bpf.bpf.o" "$LAB_DIR/bpf/foreign"
for port in eth0 eth1 eth2; do
    vnf tc qdisc add dev $port clsact
    vnf tc filter add dev $port egress pref 9 bpf object-pinned "$LAB_DIR/bpf/foreign" direct-action
done

# Without a chain the kernel routes what is for no VIP, so these packets have a way at all times.
netfilter_config "$file" 100000
start_stream direct client "s1 s2" "$S1:9000" "$S2:9000"
start_stream back s2 client 10.1.0.2:9001
first=$((kills / 5))
for ((kill = 0; kill < first; kill++)); do
    begin_start
    nap 300
    end_evnfd KILL
    another_size
    # Killed once more while it takes over what the first one left, then it may stay.
    ((kill % 2)) && { begin_start; nap 300; end_evnfd KILL; }
    start_evnfd "$file"
    ctl detach >/dev/null || fail "kill $kill: detach"
    wait "$EVNFD_PID" || fail "kill $kill: exit status after detach"
    assert_eq "" "$(find "$PIN_DIR" -type f 2>/dev/null)" "kill $kill: pins after detach"
    for port in eth0 eth1 eth2; do
        assert_eq "" "$(filters $port ingress)$(filters $port egress)" "kill $kill: filters after detach"
    done
done

start_evnfd "$file"
pins=$(pins)
start_stream vip client "s1 s2" "$VIP:7"
downloads &
downloads=$!
for ((; kill < kills; kill++)); do
    another_size
    case $((kill % 3)) in
    0) nap 200 ;;
    1) kill -HUP "$EVNFD_PID" && nap 400 ;;
    2) end_evnfd KILL && begin_start && nap 400 ;;
    esac
    end_evnfd KILL
    ((kill % 10)) || nap 999 # of traffic without a daemon
    start_evnfd "$file"
done
touch "$LAB_DIR/stop"
wait "$downloads" || fail "a connection did not survive"
for stream in vip direct back; do
    finish_stream $stream
    echo "$stream: $SENT packets"
done

# Nothing stays of former generations once their packets are through.
# shellcheck disable=SC2016 # evaluated later
wait_until '[[ $(pins) == "$pins" ]]' 10 || fail "pins stay: $(diff <(echo "$pins") <(pins))"
for port in eth0 eth1 eth2 evnf0; do
    assert_eq evnf_resume "$(filters $port egress)" "filters at egress of $port"
done
assert_eq evnf_entry "$(filters eth2 ingress)" "filters at ingress of eth2"
assert_no_packet_lost

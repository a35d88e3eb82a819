#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9 between two of the system calls by which a reload puts a new generation in charge: no packet is lost or comes
# twice. With iptables in the middle of the chain, two ports at XDP and one at tc, and a state map that moves. STEPS says
# at how many of the calls, or "all"; STEP_SEED draws them.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
file=$LAB_DIR/evnf.yaml
trace=$LAB_DIR/trace
steps=${STEPS:-20}
RANDOM=${STEP_SEED:=$RANDOM}
echo "seed $STEP_SEED"

size=100000
another_size() { netfilter_config "$file" $((size = 201000 - size)); }

# traced UNTIL ARGUMENT…: evnfd reloads under strace with these arguments, until the condition is true.
traced() {
    local until=$1 pid
    shift
    strace -qq -o "$trace" -s 200 -e trace=bpf,sendto,rename,unlinkat,mkdir -p "$EVNFD_PID" "$@" 2>"$LAB_DIR/strace" &
    pid=$!
    wait_until 'grep -q "^TracerPid:.[^0]" "/proc/$EVNFD_PID/status"' 10 || fail "strace: $(cat "$LAB_DIR/strace")"
    kill -HUP "$EVNFD_PID"
    wait_until "$until" 20 || fail "the reload does not end: $(cat "$LAB_DIR/strace")"
    kill "$pid" 2>/dev/null || true
    wait "$pid" || true
}

vnf iptables -P FORWARD DROP
vnf iptables -A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
vnf iptables -A FORWARD -p udp -m conntrack --ctstate NEW -j ACCEPT
for host in $S1 $S2 10.1.0.2; do vnf ping -q -c 1 -W 2 "$host" >/dev/null || fail "no way to $host"; done
netfilter_config "$file" $size
start_evnfd "$file"
start_stream vip client "s1 s2" "$VIP:7"
start_stream direct client "s1 s2" "$S1:9000" "$S2:9000"
start_stream back s2 client 10.1.0.2:9001

# The steps are those from the first pin of the next generation to the last one renamed.
another_size
before=$(generation)
traced '(( $(generation) > before ))'
mapfile -t calls < <(cut -d'(' -f1 "$trace")
mapfile -t swap < <(grep -n /next/ "$trace" | cut -d: -f1 | sed -n '1p; $p')
((swap[1] - swap[0] > 100)) || fail "calls ${swap[*]} are not a whole swap"
if [[ $steps == all ]]; then
    mapfile -t at < <(seq "${swap[@]}")
else
    for ((i = 0; i < steps; i++)); do at[i]=$((swap[0] + RANDOM % (swap[1] - swap[0] + 1))); done
fi

for i in "${!at[@]}"; do
    # Evnfds that end one upon another leave nobody to release former generations, of which there is room for 63.
    ((i % 25 < 24)) || wait_until '(( $(find "$PIN_DIR/chains" -type f | wc -l) <= 2 ))' 10 || fail "chains stay pinned"
    another_size
    call=${calls[at[i] - 1]}
    traced '! kill -0 $EVNFD_PID 2>/dev/null' -e inject="$call:signal=KILL:when=$(printf '%s\n' "${calls[@]:0:at[i]}" | grep -cx "$call")"
    wait "$EVNFD_PID" 2>/dev/null || true
    echo "$(date +%T.%3N) killed before: $(tail -n 2 "$trace" | head -n 1)"
    start_evnfd "$file"
done
for stream in vip direct back; do
    finish_stream $stream
    echo "$stream: $SENT packets"
done
assert_no_packet_lost

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Packets a second through the VNF of the lab: 64-byte UDP in 256 flows, one core for everything, generator and receiver
# included. The subjects take turns, so that a case's evnf and its peer are measured next to each other.
#   evnf      this product
#   bare      an XDP program that asks the FIB and redirects, for each packet, and does nothing else
#   linux     the kernel's routing
#   iptables  the same with rules of the same meaning, as are
#   nftables  these
source "$(dirname "$0")/../lab/lab.sh"

rounds=7 seconds=2
[[ ${1:-} != --quick ]] || rounds=3 seconds=0.5
readonly CORE=0 FLOWS=256 MOST_LOST=0.01
readonly TURNS=(
    'route-64B bare' 'route-64B evnf' 'route-64B linux'
    'fw-1-rule-64B bare' 'fw-1-rule-64B evnf' 'fw-1-rule-64B iptables'
    'fw-100-rules-64B evnf' 'fw-100-rules-64B iptables'
    'fw-1000-rules-64B iptables' 'fw-1000-rules-64B evnf' 'fw-1000-rules-64B nftables'
    'fw-10000-rules-64B bare' 'fw-10000-rules-64B evnf'
    'fw-dpi-64B evnf' 'chain-64B evnf' 'vip-64B evnf'
)

# ---------------------------------------------------------------- subjects

# An operator's list, or the last of its rules alone. Only the last applies to the traffic; the others differ from
# it in the source address alone, so that neither side can tell by protocol or port that they do not.
rules() {
    local count=$1 number
    for ((number = 1; number < count; number++)); do
        printf '      - {name: bad%d, src: 172.20.%d.%d, proto: udp, dport: 7, action: drop}\n' \
            $number $((number / 250)) $((number % 250 + 1))
    done
    printf '      - {name: last, dst: 10.0.0.0/8, proto: udp, dport: 7, action: allow}\n'
}

fw() { printf '  fw:\n    default: drop\n    rules:\n%s\n' "$(rules "$1")"; }
dpi() { printf '  dpi: {}\n'; }
lb() {
    printf '  lb: {services: [{name: echo, vip: %s, port: 7, proto: udp, backends: [{name: s1, address: %s}]}]}\n' \
        "$VIP" "$S1"
}

# start_chain CHAIN: the plugins' settings come from standard input.
start_chain() {
    {
        printf 'ports:\n  - {name: eth0, chain: [%s]}\n  - {name: eth1, chain: []}\n' "$1"
        [[ -z $1 ]] || printf 'plugins:\n'
        cat
    } | config "$LAB_DIR/bench.yaml"
    start_evnfd "$LAB_DIR/bench.yaml"
}

# start_evnf CASE
start_evnf() {
    case $1 in
    route-*) start_chain '' </dev/null ;;
    fw-1-*) start_chain fw < <(fw 1) ;;
    fw-100-*) start_chain fw < <(fw 100) ;;
    fw-1000-*) start_chain fw < <(fw 1000) ;;
    fw-10000-*) start_chain fw < <(fw 10000) ;;
    fw-dpi-*) start_chain fw,dpi < <(fw 1 && dpi) ;;
    chain-* | vip-*) start_chain fw,dpi,lb < <(fw 1 && dpi && lb) ;;
    esac
}

# Counters prove that the packets took the way that the case claims.
check_evnf() {
    local of=$1 received=$2 stats
    stats=$(ctl stats --json)
    assert_clean
    assert_json ".drops == [] and .ports[0].forward >= $received and .ports[0].kernel < 100" "$stats" \
        "$of: eVNF forwards all"
    case $of in
    fw-* | chain-* | vip-*) (($(rule_packets last) >= received)) || fail "$of: the last rule decides" ;;
    esac
    case $of in
    fw-dpi-* | chain-* | vip-*)
        assert_json "length == $FLOWS and all(.[]; .state == \"gave_up\" or .state == \"classified\")" \
            "$(ctl dpi flows --json)" "$of: dpi knows the flows"
        ;;
    esac
    case $of in
    vip-*) assert_json ".[0].packets >= $received" "$(ctl lb backends --json)" "$of: lb balances the packets" ;;
    esac
}

iptables_rules() {
    local count=$1 number
    printf '*filter\n:FORWARD DROP\n'
    for ((number = 1; number < count; number++)); do
        printf -- '-A FORWARD -s 172.20.%d.%d -p udp --dport 7 -j DROP\n' $((number / 250)) $((number % 250 + 1))
    done
    printf -- '-A FORWARD -d 10.0.0.0/8 -p udp --dport 7 -j ACCEPT\nCOMMIT\n'
}

# start_iptables CASE
start_iptables() {
    case $1 in
    fw-1-*) iptables_rules 1 ;;
    fw-100-*) iptables_rules 100 ;;
    fw-1000-*) iptables_rules 1000 ;;
    esac | vnf iptables-restore
}

start_nftables() {
    local number
    {
        printf 'table ip filter {\nchain forward {\ntype filter hook forward priority filter; policy drop;\n'
        for ((number = 1; number < 1000; number++)); do
            printf 'ip saddr 172.20.%d.%d udp dport 7 drop\n' $((number / 250)) $((number % 250 + 1))
        done
        printf 'ip daddr 10.0.0.0/8 udp dport 7 accept\n}\n}\n'
    } | vnf nft -f -
}

# ---------------------------------------------------------------- measuring

# send TO [OPTION...]: {"sent":N,"received":N,"seconds":S}
send() {
    local to=$1
    shift
    "$EVNF_BUILD/bin/evnf_pps" --cpu "$CORE" \
        --client "/run/netns/$LAB-client" --server "/run/netns/$LAB-s1" --server-address "$S1" \
        --gateway "$(vnf ip -j link show eth0 | jq -r '.[0].address')" --to "$to" --port 7 --flows "$FLOWS" \
        --seconds "$seconds" "$@"
}

# take_turn CASE SUBJECT ROUND: in a lab of its own, so that nothing of another subject is left. Prints the sample.
take_turn() {
    local of=$1 subject=$2 round=$3 to=$S1 counts options=()
    lab_up
    # Off and on again: the client's end went up first and does not know yet that it may send frames of XDP.
    vnf ethtool -K eth0 gro off
    vnf ethtool -K eth0 gro on
    client ping -q -c 1 -W 2 "$S1" >/dev/null || fail "no way from the client to s1"
    case $subject in
    bare) options=(--bare-router "/run/netns/$LAB-vnf") ;;
    evnf) start_evnf "$of" ;;
    iptables) start_iptables "$of" ;;
    nftables) start_nftables ;;
    esac
    [[ $of != vip-* ]] || to=$VIP
    counts=$(send "$to" "${options[@]}")
    assert_json ".sent > 0 and .sent - .received <= .sent * $MOST_LOST" "$counts" \
        "$of, $subject: nearly all packets arrive"
    if [[ $subject == evnf ]]; then
        check_evnf "$of" "$(jq .received <<<"$counts")"
        stop_evnfd
    fi
    lab_remove "$LAB"
    jq -c --arg case "$of" --arg subject "$subject" --argjson round "$round" \
        '{case: $case, subject: $subject, round: $round, value: (.received / .seconds / 1e6)}' <<<"$counts"
}

for ((round = 1; round <= rounds; round++)); do
    printf 'pps: round %d of %d\n' "$round" "$rounds" >&2
    for turn in "${TURNS[@]}"; do
        # shellcheck disable=SC2086 # CASE SUBJECT
        take_turn $turn $round
    done
done

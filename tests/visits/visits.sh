# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Promise 1 of the design, on a million packets: each stage sees each packet once and in order, or the packet ends in a
# named verdict, whichever way it takes. A plugin of the test's own stands between the others and stamps each packet.
#
# Use:  source visits.sh; visits HOOK [ROUTE…]     all routes of the table unless named; `hook` as in evnf.yaml
# VISITS_PACKETS and VISITS_SEED change how many packets there are and which.
source "$(dirname "${BASH_SOURCE[0]}")/../lab/lab.sh"
# shellcheck disable=SC2034 # lab.sh starts it
EVNFD=$EVNF_BUILD/tests/visits/bin/evnfd

readonly CHAIN=(stamp1 fw stamp2 dpi stamp3 lb stamp4) STAMPS=4
readonly SMALL_MTU=1280 # of eth2; IPv6 wants no less
readonly ROUNDS=20      # the neighbours of the no_neighbour routes are forgotten after each

# A route: what fw does with it, where its packets go (addresses from the one given on, powers of 2; ports; IP lengths;
# `df` where they may not be fragmented), and how they end:
#   received   at a server or at the VNF's own socket, with all stamps
#   denied     dropped by fw
#   filtered   left by fw to netfilter, and dropped there
#   too_big    refused by the kernel, which tells the sender
# Each route has ports of its own: fw's rules and iptables' count it by them.
readonly TABLE='
    route             fw         address           hosts  port   ports  lengths    df  ends
    fast              allow      10.4.0.0          65536  20000  100    62-1500    df  received
    fast6             allow      2001:db8:4::      65536  20100  100    82-1500    df  received
    vip               allow      10.2.0.2          1      20200  1      62-1280    df  received
    vip6              allow      2001:db8:2::2     1      20300  1      82-1280    df  received
    local             allow      10.1.0.1          1      20400  1      62-1500    df  received
    local6            allow      2001:db8:1::1     1      20500  1      82-1500    df  received
    no_neighbour      allow      10.5.0.0          64     20600  100    62-1280    df  received
    no_neighbour6     allow      2001:db8:5::1:0   32     20700  100    82-1280    df  received
    fragmented        allow      10.6.0.0          65536  20800  100    1281-1500  -   received
    too_big           allow      10.6.0.0          65536  20900  100    1281-1500  df  too_big
    too_big6          allow      2001:db8:6::      65536  21000  100    1281-1500  df  too_big
    too_big_left      netfilter  10.6.0.0          65536  21100  100    1281-1500  df  too_big
    denied            drop       10.4.0.0          65536  21200  100    62-1500    df  denied
    denied6           drop       2001:db8:4::      65536  21300  100    82-1500    df  denied
    filtered          netfilter  10.4.0.0          65536  21400  100    62-1500    df  filtered
    filtered6         netfilter  2001:db8:4::      65536  21500  100    82-1500    df  filtered
    filtered_default  default    10.4.0.0          65536  21600  100    62-1500    df  filtered
    accepted          netfilter  10.4.0.0          65536  21700  100    62-1500    df  received
    accepted6         netfilter  2001:db8:4::      65536  21800  100    82-1500    df  received
    accepted_default  default    10.4.0.0          65536  21900  100    62-1500    df  received
    vip_left          netfilter  10.2.0.2          1      22000  1      62-1280    df  received
    vip_left6         netfilter  2001:db8:2::2     1      22100  1      82-1280    df  received
    no_neighbour_left netfilter  10.5.0.0          64     22200  100    62-1280    df  received
    fragmented_left   netfilter  10.6.0.0          65536  22300  100    1281-1500  -   received
'

declare -A FW ADDRESS HOSTS PORT PORTS LENGTHS DF ENDS
ROUTES=()

# read_table [ROUTE…]
read_table() {
    local wanted=" $* " route row
    while read -r route row; do
        [[ $route && $route != route && ($# == 0 || $wanted == *" $route "*) ]] || continue
        ROUTES+=("$route")
        read -r FW["$route"] ADDRESS["$route"] HOSTS["$route"] PORT["$route"] PORTS["$route"] LENGTHS["$route"] \
            DF["$route"] ENDS["$route"] <<<"$row"
    done <<<"$TABLE"
    (($# == 0 || ${#ROUTES[@]} == $#)) || fail "no such route among: $*"
}

is_ipv6() { [[ ${ADDRESS[$1]} == *:* ]]; }

# matching GLOB…: the routes whose "FW ADDRESS ENDS" is like one of them.
matching() {
    local route glob
    for route in "${ROUTES[@]}"; do
        for glob in "$@"; do
            # shellcheck disable=SC2053 # a glob
            [[ "${FW[$route]} ${ADDRESS[$route]} ${ENDS[$route]}" != $glob ]] || echo "$route"
        done
    done
}
to_vip() { matching "* $VIP *" "* $VIP6 *"; }
to_itself() { matching '* 10.1.0.1 *' '* 2001:db8:1::1 *'; }

port_range() { printf '%d%s%d' "${PORT[$1]}" "$2" $((PORT[$1] + PORTS[$1] - 1)); }

# ---------------------------------------------------------------- the lab's additions

network_up() {
    lab_up
    # Off and on again: the client's end went up first and does not know yet that it may send frames of XDP.
    vnf ethtool -K eth0 gro off
    vnf ethtool -K eth0 gro on
    vnf ip link set eth2 mtu $SMALL_MTU
    s2 ip link set eth0 mtu $SMALL_MTU
    vnf ip -batch - <<'IP'
route add 10.4.0.0/16 via 10.3.1.2
route add 10.5.0.0/16 dev eth2
route add 10.6.0.0/16 via 10.3.2.2
route add 10.7.0.0/16 via 10.1.0.2
route add 2001:db8:4::/64 via 2001:db8:31::2
route add 2001:db8:5::/64 dev eth2
route add 2001:db8:6::/64 via 2001:db8:32::2
route add 2001:db8:7::/64 via 2001:db8:1::2
IP
    neighbours_up
    local to
    for to in 10.1.0.2 $S1 $S2 2001:db8:1::2 2001:db8:31::2 2001:db8:32::2; do
        vnf ping -q -c 1 -W 2 "$to" >/dev/null || fail "no way to $to"
    done
}

# s2 answers for the addresses of the no_neighbour routes.
neighbours_up() {
    local host
    s2 ip route add local 10.5.0.0/16 dev lo
    for host in {0..31}; do printf 'addr add 2001:db8:5::1:%x/64 dev eth0 nodad\n' "$host"; done | s2 ip -batch -
}

# netfilter counts what fw leaves to it, and drops the routes that end so.
filters_up() {
    local route verdict iptables
    for route in "${ROUTES[@]}"; do
        iptables=iptables verdict=ACCEPT
        ! is_ipv6 "$route" || iptables=ip6tables
        [[ ${ENDS[$route]} != filtered ]] || verdict=DROP
        vnf $iptables -A FORWARD -p udp --dport "$(port_range "$route" :)" -m comment --comment "$route" -j $verdict
    done
}

# ---------------------------------------------------------------- evnfd

stamps() {
    local stamp
    for ((stamp = 1; stamp <= STAMPS; stamp++)); do
        printf '  stamp%d: {module: stamp, mark: %d}\n' $stamp $stamp
    done
}

rules() {
    local route
    for route in "${ROUTES[@]}"; do
        [[ ${FW[$route]} != default ]] || continue
        printf '      - {name: %s, proto: udp, dport: %s, action: %s}\n' \
            "$route" "$(port_range "$route" -)" "${FW[$route]}"
    done
}

services() {
    local route backends
    for route in $(to_vip); do
        backends="{name: s1, address: $S1, port: 7}, {name: s2, address: $S2, port: 7}"
        ! is_ipv6 "$route" ||
            backends='{name: s1, address: "2001:db8:31::2", port: 7}, {name: s2, address: "2001:db8:32::2", port: 7}'
        printf '      - {name: %s, vip: "%s", port: %d, proto: udp, backends: [%s]}\n' \
            "$route" "${ADDRESS[$route]}" "${PORT[$route]}" "$backends"
    done
}

# configuration HOOK
configuration() {
    local chain
    chain=$(IFS=, && echo "${CHAIN[*]}")
    cat <<YAML
ports:
  - {name: eth0, hook: $1, chain: [$chain]}
  - {name: eth1, hook: $1, chain: []}
  - {name: eth2, hook: $1, chain: []}
plugins:
$(stamps)
  fw:
    default: netfilter
    rules:
      - {name: ping, proto: [icmp, icmpv6], action: allow}
$(rules)
  dpi: {}
  lb:
    services:
      - {name: unused, vip: 10.2.0.3, port: 7, proto: udp, backends: [{name: s1, address: $S1}]}
$(services)
YAML
}

# ---------------------------------------------------------------- sending

# The routes as evnf_visits reads them.
routes() {
    local route
    for route in "${ROUTES[@]}"; do
        echo "$route ${ADDRESS[$route]} ${HOSTS[$route]} ${PORT[$route]} ${PORTS[$route]}" \
            "${LENGTHS[$route]/-/ } ${DF[$route]}"
    done
}

# Sets REPORT. All happens on one CPU: queues that others emptied could overflow when these have no time.
send() {
    local route options=()
    for route in $(to_itself); do options+=(--local-port "${PORT[$route]}"); done
    REPORT=$(routes | taskset --cpu-list 0 "$EVNF_BUILD/bin/evnf_visits" "${options[@]}" --stages $STAMPS \
        --client "/run/netns/$LAB-client" --vnf "/run/netns/$LAB-vnf" \
        --server "/run/netns/$LAB-s1" --server "/run/netns/$LAB-s2" \
        --gateway "$(vnf ip -j link show eth0 | jq -r '.[0].address')" --source 10.7.0.0 --source6 2001:db8:7:: \
        --packets "${VISITS_PACKETS:-1000000}" ${VISITS_SEED:+--seed "$VISITS_SEED"} --rounds $ROUNDS \
        --between "ip -n $LAB-vnf neigh flush to 10.5.0.0/16 && ip -n $LAB-vnf -6 neigh flush to 2001:db8:5::/64") ||
        fail "evnf_visits"
}

# ---------------------------------------------------------------- checking

# Sets VISITS: for each stamp the packets of each route.
ask_stamps() {
    local stamp
    VISITS=$(for ((stamp = 1; stamp <= STAMPS; stamp++)); do ctl stamp$stamp visits --json; done | jq -s .)
}

# of ROUTE FIELD: sent, received, wrong or duplicates.
of() { jq --arg name "$1" ".routes[] | select(.name == \$name) | .$2" <<<"$REPORT"; }

# sum FIELD ROUTE…
sum() {
    local field=$1 total=0 route
    shift
    for route in "$@"; do total=$((total + $(of "$route" "$field"))); done
    echo $total
}

# forwarded ROUTE: packets that netfilter saw in FORWARD.
forwarded() {
    local iptables=iptables
    ! is_ipv6 "$1" || iptables=ip6tables
    vnf $iptables -nvxL FORWARD | awk -v comment="/* $1 */" 'index($0, comment) { print $1 }'
}

# visits_of INDEX: that route's packets at each stamp, in a line.
visits_of() { jq -r --argjson index "$1" 'map(.[$index]) | join(" ")' <<<"$VISITS"; }

# left_by STAGE REASON: packets that this stage left to the kernel.
left_by() {
    ctl stats --json | jq --arg stage "$1" --arg reason "$2" \
        '[.kernel[] | select(.stage == $stage and .reason == $reason) | .packets] | add // 0'
}

# check_end ROUTE INDEX: where its packets ended, and which stages they met before.
check_end() {
    local route=$1 sent arrive=0 through
    sent=$(of "$route" sent)
    ((sent > 0)) || fail "$route: no packet was sent"
    [[ ${ENDS[$route]} != received ]] || arrive=$sent
    case ${FW[$route]}-${ENDS[$route]} in
    *-received | allow-*) through="$sent $sent $sent $sent" ;;
    *) through="$sent 0 0 0" ;;
    esac
    assert_eq "$arrive" "$(of "$route" received)" "$route: packets that arrived"
    assert_eq "$through" "$(visits_of "$2")" "$route: visits to each stamp"
    assert_eq "0 0" "$(of "$route" wrong) $(of "$route" duplicates)" \
        "$route: packets with wrong stamps, and that came twice; one of the wrong: $(jq -c .example <<<"$REPORT")"
}

# check_decisions ROUTE: packets that took the route because fw and netfilter said so.
check_decisions() {
    local route=$1 sent
    sent=$(of "$route" sent)
    [[ ${FW[$route]} == default ]] ||
        assert_eq "$sent" "$(rule_packets "$route")" "$route: packets that fw's rule counted"
    [[ ${FW[$route]} != @(netfilter|default) || ${ENDS[$route]} == too_big ]] ||
        assert_eq "$sent" "$(forwarded "$route")" "$route: packets that netfilter counted"
}

# Counters that several routes share. fw leaves its share of what is too big to the kernel before the forwarder sees it.
# shellcheck disable=SC2046 # names of routes
check_verdicts() {
    local refused balanced unknown
    refused=$(vnf nstat -asj IpFragFails Ip6FragFails | jq '.kernel | add // 0')
    balanced=$(ctl lb backends --json | jq 'map(.packets) | add')
    unknown=$(left_by forwarder no_neighbour)
    assert_eq "$(sum sent $(matching '* too_big'))" "$refused" "packets that the kernel found too big"
    assert_eq "$(sum sent $(matching 'allow 10.6.0.0 *' 'allow 2001:db8:6:: *'))" \
        "$(left_by forwarder fragmentation_needed)" "packets that the forwarder found too big"
    assert_eq "$(sum sent $(to_itself))" "$(left_by forwarder not_forwarded)" "packets to the VNF itself"
    assert_eq "$(sum sent $(to_vip))" "$balanced" "packets that lb balanced"
    [[ -z $(matching 'allow 10.5.*' 'allow 2001:db8:5:*') ]] || ((unknown >= ROUNDS)) ||
        fail "no packet met a neighbour not known yet"
}

print_report() {
    local route
    printf 'seed %s: %s packets in %.1f s\n' "$(jq .seed <<<"$REPORT")" "$(jq '[.routes[].sent] | add' <<<"$REPORT")" \
        "$(jq .seconds <<<"$REPORT")"
    for route in "${ROUTES[@]}"; do
        printf '  %-21s %7d sent  %7d received  %7d through netfilter\n' "$route" "$(of "$route" sent)" \
            "$(of "$route" received)" "$(forwarded "$route")"
    done
}

# visits HOOK [ROUTE…]
visits() {
    local hook=$1 index
    read_table "${@:2}"
    network_up
    filters_up
    configuration "$hook" | config "$LAB_DIR/evnf.yaml"
    start_evnfd "$LAB_DIR/evnf.yaml"
    send
    print_report
    ask_stamps
    for index in "${!ROUTES[@]}"; do
        check_end "${ROUTES[index]}" "$index"
        check_decisions "${ROUTES[index]}"
    done
    check_verdicts
    assert_json "[.ports[].hook] | unique == [\"$hook\"]" "$(ctl status --json)" "the hook in use"
    assert_clean
}

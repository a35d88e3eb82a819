# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The lab: a client, the VNF and two servers in network namespaces of this run's own.
#
#   client ──eth0─┬─ vnf ─┬─eth1── s1        client 10.1.0.2    2001:db8:1::2
#                 │       └─eth2── s2        s1     10.3.1.2    2001:db8:31::2
#            10.1.0.1                        s2     10.3.2.2    2001:db8:32::2
#                                            VIP    10.2.0.2    2001:db8:2::2, routed to the VNF
#
# Use:  source lab.sh; lab_up; config FILE <<'YAML' …; start_evnfd FILE; client curl …; assert_clean
# LAB_OFFLOADS=on before lab_up gives the hosts what containers have: checksums and segments left to the interface.
# All that runs in the lab is ended and removed when the script ends, however it ends.
set -euo pipefail

LAB_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
EVNF_BUILD=${EVNF_BUILD:-$(cd "$LAB_SOURCE/../.." && pwd)/build}
EVNFD=$EVNF_BUILD/bin/evnfd
EVNFCTL=$EVNF_BUILD/bin/evnfctl
LAB=evnf-$$
LAB_DIR=/tmp/$LAB
EVNFD_LOG=$LAB_DIR/evnfd.log
EVNFD_SOCKET=$LAB_DIR/evnfd.sock
PIN_DIR=$LAB_DIR/bpf/evnf
EVNFD_PID=
# For the scripts that source this file.
# shellcheck disable=SC2034
VIP=10.2.0.2 VIP6=2001:db8:2::2 S1=10.3.1.2 S2=10.3.2.2

# ---------------------------------------------------------------- running things

# in_ns HOST COMMAND…: only the network namespace is entered, so that /sys and bpffs stay in sight.
in_ns() {
    local host=$1
    shift
    nsenter --net="/run/netns/$LAB-$host" "$@"
}
client() { in_ns client "$@"; }
vnf() { in_ns vnf "$@"; }
s1() { in_ns s1 "$@"; }
s2() { in_ns s2 "$@"; }

# wait_until CONDITION SECONDS: polls; false when the time is over.
wait_until() {
    local deadline=$((SECONDS + $2))
    until eval "$1"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.05
    done
}

# ---------------------------------------------------------------- up and down

# lab_begin: what every lab is made in. A script that wants other hosts than lab_up's makes them after this.
lab_begin() {
    ((EUID == 0)) || { echo "the lab needs root: it makes network namespaces" >&2; exit 1; }
    lab_sweep
    trap 'lab_remove "$LAB"' EXIT
    trap 'exit 130' INT TERM
    mkdir -m 0700 "$LAB_DIR" "$LAB_DIR/bpf"
    mount -t bpf -o mode=0700 bpffs "$LAB_DIR/bpf"
}

lab_up() {
    lab_begin
    local host
    for host in client vnf s1 s2; do lab_host "$host"; done
    lab_routes vnf
    client sysctl -qw net.ipv4.ip_local_port_range='1024 65535'
    lab_wire vnf eth0 client eth0 10.1.0 2001:db8:1
    lab_wire vnf eth1 s1 eth0 10.3.1 2001:db8:31
    lab_wire vnf eth2 s2 eth0 10.3.2 2001:db8:32
    lab_default client 10.1.0.1 2001:db8:1::1
    lab_default s1 10.3.1.1 2001:db8:31::1
    lab_default s2 10.3.2.1 2001:db8:32::1
}

lab_host() {
    ip netns add "$LAB-$1"
    in_ns "$1" sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
        net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    in_ns "$1" ip link set lo up
}

lab_default() {
    in_ns "$1" ip route add default via "$2"
    in_ns "$1" ip -6 route add default via "$3"
}

lab_routes() { in_ns "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; }

# lab_wire ROUTER PORT HOST INTERFACE NETWORK4 NETWORK6: .1 is the router, .2 the host.
lab_wire() {
    local router=$1 port=$2 host=$3 interface=$4 v4=$5 v6=$6
    ip link add "$port" netns "$LAB-$router" type veth peer name "$interface" netns "$LAB-$host"
    # The host first: a veth learns whether frames may be redirected into it when it goes up after its peer.
    lab_interface "$host" "$interface" "$v4.2/24" "$v6::2/64"
    lab_interface "$router" "$port" "$v4.1/24" "$v6::1/64"
}

# XDP sees frames as they are: no checksum or segment may be left to hardware that is not there, nor a VLAN tag.
# GRO gives the receiving end the NAPI without which frames redirected into it vanish.
lab_interface() {
    local host=$1 interface=$2 v4=$3 v6=$4 to=${LAB_OFFLOADS:-off}
    in_ns "$host" ethtool -K "$interface" tx "$to" tso "$to" gso "$to" rxvlan "$to" txvlan "$to" gro on >/dev/null
    in_ns "$host" ip addr add "$v4" dev "$interface"
    in_ns "$host" ip addr add "$v6" dev "$interface" nodad
    in_ns "$host" ip link set "$interface" up
}

# lab_remove ID: ends every process in the lab's namespaces (nobody else can be there) and removes all of it.
lab_remove() {
    local id=$1 namespaces namespace signal
    namespaces=$(ip netns list | awk -v id="$id-" 'index($1, id) == 1 { print $1 }')
    for signal in TERM KILL; do
        lab_signal $signal "$namespaces"
        wait_until "[[ -z \$(lab_pids '$namespaces') ]]" 5 && break
    done
    for namespace in $namespaces; do ip netns delete "$namespace" || true; done
    if mountpoint -q "/tmp/$id/bpf"; then umount "/tmp/$id/bpf" || true; fi
    rm -rf "/tmp/$id" || true
}

lab_pids() {
    local namespace
    for namespace in $1; do ip netns pids "$namespace" 2>/dev/null || true; done
}

lab_signal() {
    local pid
    for pid in $(lab_pids "$2"); do kill -"$1" "$pid" 2>/dev/null || true; done
}

# Removes the labs of scripts that were killed before they could.
lab_sweep() {
    local directory id
    for directory in /tmp/evnf-[0-9]*; do
        id=${directory#/tmp/}
        [[ $id =~ ^evnf-([0-9]+)$ && ! -e /proc/${BASH_REMATCH[1]} ]] || continue
        lab_remove "$id"
    done
}

# ---------------------------------------------------------------- evnfd

# config FILE: ports, forwarding and plugins come from standard input; the daemon section is the lab's.
# `extra` are more lines of that section.
config() {
    local file=$1 extra=${2:-}
    {
        printf 'daemon:\n  control_socket: %s\n  pin_dir: %s\n' "$EVNFD_SOCKET" "$PIN_DIR"
        [[ -z $extra ]] || printf '  %s\n' "$extra"
        cat
    } >"$file"
}

# netfilter_config FILE CONNECTIONS: the lab's chain with iptables deciding, two ports at XDP and eth2 at tc, and room
# for so many connections in lb: with another number, that state map moves.
netfilter_config() {
    sed '/^  fw:/,/^  dpi:/ { /^    /d; s/^  fw:/  fw: {default: netfilter}/ }' "$LAB_SOURCE/chain.yaml" |
        sed "s/^  lb:\$/  lb:\n    max_connections: $2/; s/{name: eth2, /{name: eth2, hook: tc, /" | config "$1"
}

ctl() { "$EVNFCTL" -s "$EVNFD_SOCKET" "$@"; }

# start_evnfd FILE [HOST]: returns when the control socket answers.
start_evnfd() {
    # No function here: $! must be evnfd itself.
    nsenter --net="/run/netns/$LAB-${2:-vnf}" "$EVNFD" -c "$1" --foreground >>"$EVNFD_LOG" 2>&1 &
    EVNFD_PID=$!
    wait_until "! kill -0 $EVNFD_PID 2>/dev/null || ctl status >/dev/null 2>&1" 20 || fail "evnfd did not answer in 20 s"
    kill -0 "$EVNFD_PID" 2>/dev/null || fail "evnfd ended when it started"
}

# end_evnfd SIGNAL: sets EXIT_STATUS.
end_evnfd() {
    EXIT_STATUS=0
    kill -"$1" "$EVNFD_PID"
    wait "$EVNFD_PID" 2>/dev/null || EXIT_STATUS=$?
    EVNFD_PID=
}

stop_evnfd() {
    end_evnfd TERM
    assert_eq 0 "$EXIT_STATUS" "exit status of evnfd on SIGTERM"
}

generation() { ctl status --json | jq .generation; }

# reload: SIGHUP, and back when the new generation carries traffic.
reload() {
    local before
    before=$(generation)
    kill -HUP "$EVNFD_PID"
    wait_until "(( \$(generation) > $before ))" 10 || fail "no new generation in 10 s after SIGHUP"
}

# ---------------------------------------------------------------- servers and load

# start_nginx HOST…: real nginx; / says which server it is, /slow trickles 4 MB for about 8 s, and /bulk is
# whatever a test puts at HOST/html/bulk.
# Listens on 80 and 8080 to 8082, and with TLS on 443.
start_nginx() {
    local host
    [[ -e $LAB_DIR/tls.key ]] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -subj /CN=evnf.test -keyout "$LAB_DIR/tls.key" -out "$LAB_DIR/tls.crt" 2>/dev/null
    for host in "$@"; do
        local prefix=$LAB_DIR/$host
        mkdir -p "$prefix/html"
        chmod 0711 "$LAB_DIR" "$prefix"
        truncate -s 4M "$prefix/html/slow"
        sed "s|@HOST@|$host|; s|@DIR@|$LAB_DIR|" "$LAB_SOURCE/nginx.conf" >"$prefix/nginx.conf"
        in_ns "$host" nginx -p "$prefix" -e error.log -c nginx.conf 2>>"$prefix/error.log" &
        wait_until "[[ \$(in_ns $host curl -s http://127.0.0.1/) == $host ]]" 10 || fail "nginx on $host did not start"
    done
}

# start_digest HOST…: at TCP port 9000 each says the SHA-256 of what it is sent.
start_digest() {
    local host
    for host in "$@"; do
        in_ns "$host" socat TCP6-LISTEN:9000,fork,reuseaddr,ipv6only=0 SYSTEM:'sha256sum | cut -c-64' &
        wait_until "[[ -n \$(in_ns $host ss -Hltn sport = :9000) ]]" 10 || fail "no digest server on $host"
    done
}

# digest_of HOST: what the digest server there says of standard input.
digest_of() { client timeout 20 socat -t 20 - "TCP:$1:9000"; }

# served HOST: requests that its nginx has answered on its web ports.
served() { in_ns "$1" curl -s http://127.0.0.1:9999/ | awk 'NR == 3 { print $3 }'; }

# assert_answers N WHAT: s1 and s2 answer so many more requests, soon.
assert_answers() {
    local answers=$(($(served s1) + $(served s2)))
    assert_eventually "(( $answers + $1 < \$(served s1) + \$(served s2) ))" "$2"
}

# start_load NAME SECONDS URL [WRK-ARGUMENT…]: wrk in the background; its result is read by finish_load.
start_load() {
    local name=$1 seconds=$2 url=$3
    shift 3
    client env WRK_RESULT="$LAB_DIR/$name.json" wrk -s "$LAB_SOURCE/wrk.lua" -t2 -c36 -d"${seconds}s" "$@" "$url" \
        >"$LAB_DIR/$name.wrk" 2>&1 &
    LOAD_PID=$!
    LOAD_NAME=$name
}

# finish_load: waits; sets REQUESTS and ERRORS (connect, read, write, timeout and HTTP status).
finish_load() {
    wait "$LOAD_PID" || fail "wrk failed: $(cat "$LAB_DIR/$LOAD_NAME.wrk")"
    REQUESTS=$(jq .requests "$LAB_DIR/$LOAD_NAME.json")
    ERRORS=$(jq '.connect + .read + .write + .timeout + .status' "$LAB_DIR/$LOAD_NAME.json")
}

# start_stream NAME FROM "AT…" ADDRESS:PORT…: numbered UDP packets from host FROM to each destination in turn, two a
# millisecond, counted at the hosts AT; finish_stream NAME ends it.
declare -A STREAM_PID
start_stream() {
    local name=$1 from=$2 host to arguments=()
    for host in $3; do arguments+=(--at "/run/netns/$LAB-$host"); done
    for to in "${@:4}"; do arguments+=(--to "$to"); done
    # In the host, so that it ends with the lab; by no function, so that $! is the stream itself.
    nsenter --net="/run/netns/$LAB-$from" "$EVNF_BUILD/bin/evnf_stream" --from "/run/netns/$LAB-$from" "${arguments[@]}" \
        >"$LAB_DIR/$name.stream" 2>&1 &
    STREAM_PID[$name]=$!
}

# finish_stream NAME: sets SENT; every packet must have arrived, and once.
finish_stream() {
    local report
    kill -TERM "${STREAM_PID[$1]}"
    wait "${STREAM_PID[$1]}" || fail "stream $1: $(cat "$LAB_DIR/$1.stream")"
    report=$(cat "$LAB_DIR/$1.stream")
    # shellcheck disable=SC2034 # for the scripts that source this file
    SENT=$(jq .sent <<<"$report")
    assert_json '.sent > 0 and .lost == 0 and .duplicates == 0' "$report" "stream $1: every packet arrives, and once"
}

# start_connections COUNT FROM "AT…" ADDRESS [OPTION…]: that many TCP connections of evnf_connections from host FROM to
# servers at the hosts AT, whose port is 9000; returns when all are open. finish_connections ends them.
start_connections() {
    local count=$1 from=$2 host arguments=()
    for host in $3; do arguments+=(--at "/run/netns/$LAB-$host"); done
    # As above.
    nsenter --net="/run/netns/$LAB-$from" "$EVNF_BUILD/bin/evnf_connections" --from "/run/netns/$LAB-$from" "${arguments[@]}" \
        --to "$4" --connections "$count" "${@:5}" >"$LAB_DIR/connections" 2>&1 &
    CONNECTIONS_PID=$!
    wait_until 'grep -q ready "$LAB_DIR/connections"' 20 || fail "no $count connections: $(cat "$LAB_DIR/connections")"
}

# finish_connections: sets CONNECTIONS, the report; every one has finished its last block, or broken.
finish_connections() {
    kill -TERM "$CONNECTIONS_PID"
    wait "$CONNECTIONS_PID" || fail "evnf_connections: $(cat "$LAB_DIR/connections")"
    # shellcheck disable=SC2034 # for the scripts that source this file
    CONNECTIONS=$(tail -n 1 "$LAB_DIR/connections")
}

# ---------------------------------------------------------------- assertions

# fail TEXT: the end, with what the reader needs to know why.
fail() {
    {
        printf '\nFAILED: %s\n' "$1"
        local frame
        for ((frame = 1; frame < ${#FUNCNAME[@]}; frame++)); do
            printf '  at %s:%s\n' "${BASH_SOURCE[frame]}" "${BASH_LINENO[frame - 1]}"
        done
        if [[ -s $EVNFD_LOG ]]; then
            printf '%s\n' '--- evnfd, last lines'
            tail -n 40 "$EVNFD_LOG"
        fi
        if [[ -S $EVNFD_SOCKET ]]; then
            printf '%s\n' '--- evnfctl stats'
            timeout 3 "$EVNFCTL" -s "$EVNFD_SOCKET" stats || true
        fi
    } >&2
    exit 1
}

assert_eq() { [[ $1 == "$2" ]] || fail "$3: wanted '$1', got '$2'"; }

# assert_json FILTER JSON WHAT: jq's answer must be true.
assert_json() { jq -e "$1" >/dev/null <<<"$2" || fail "$3: $1 is not so in $2"; }

# assert_load_clean WHAT: after finish_load, requests were made and none failed.
assert_load_clean() {
    assert_eq 0 "$ERRORS" "$1: failed requests ($(cat "$LAB_DIR/$LOAD_NAME.json"))"
    ((REQUESTS > 0)) || fail "$1: no request was made"
}

# assert_eventually CONDITION WHAT
assert_eventually() { wait_until "$1" 10 || fail "$2: not in 10 s"; }

# assert_clean: nothing was lost by us. Each test ends with it unless losing is what it provokes.
assert_clean() {
    assert_json '.missed_tail_calls == 0 and .lost_events == 0 and .redirect_errors == 0' "$(ctl stats --json)" \
        "nothing lost by eVNF"
}

# assert_no_packet_lost: where traffic ran without a daemon. Copies for the slow path that nobody read meanwhile
# are lost, and counted; packets are not.
assert_no_packet_lost() {
    assert_json '.missed_tail_calls == 0 and .redirect_errors == 0' "$(ctl stats --json)" "no packet lost by eVNF"
}

# rule_packets NAME: packets that the firewall counted under that rule.
rule_packets() { ctl fw rules --json | jq --arg name "$1" '.[] | select(.name == $name) | .packets'; }

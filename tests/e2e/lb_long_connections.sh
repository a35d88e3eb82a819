#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A thousand connections over four servers live through reloads that remove one of them, add it again and change all
# weights: each stays with its server and every byte comes back as it was sent. Over IPv4 and IPv6.
source "$(dirname "$0")/../lab/lab.sh"
readonly COUNT=1000
lab_up

# configure VIP HOST1 HOST2 PORT:WEIGHT…: a backend for each at both hosts; those of weight - at the second one only.
configure() {
    local vip=$1 host1=$2 host2=$3 item
    {
        printf 'ports: [{name: eth0, chain: [lb]}, {name: eth1, chain: [lb]}, {name: eth2, chain: [lb]}]\nplugins:\n  lb:\n'
        printf '    services:\n      - name: long\n        vip: "%s"\n        port: 9000\n        proto: tcp\n        backends:\n' "$vip"
        for item in "${@:4}"; do
            local port=${item%:*} weight=${item#*:}
            [[ $weight == - ]] || printf '          - {name: s1-%s, address: "%s", port: %s, weight: %s}\n' $port $host1 $port $weight
            printf '          - {name: s2-%s, address: "%s", port: %s, weight: %s}\n' $port $host2 $port ${weight/-/100}
        done
    } | config "$LAB_DIR/evnf.yaml" "on_stop: detach"
}

# placed HOST1: which connection is where, "PORT BACKEND" of each, sorted. A backend that is removed has its address for a name.
placed() {
    ctl lb connections --json | jq -r --arg removed "$1 9000" \
        '.[] | select(.state == "established") | "\(.client_port) \(if .backend == $removed then "s1-9000" else .backend end)"' | sort
}

# lives_through_reloads VIP HOST1 HOST2
lives_through_reloads() {
    local vip=$1 host1=$2 before of_removed
    configure "$@" 9000:100 9001:100
    start_evnfd "$LAB_DIR/evnf.yaml"
    start_connections $COUNT client "s1 s2" "$vip" --server-port 9000 --server-port 9001
    assert_eventually "(( \$(placed $host1 | wc -l) == $COUNT ))" "$vip: $COUNT established connections"
    before=$(placed "$host1")
    of_removed=$(grep -c 's1-9000$' <<<"$before")
    ((of_removed > COUNT / 8)) || fail "$vip: only $of_removed connections are with the server that is removed"

    configure "$@" 9000:- 9001:100
    reload
    assert_eq '["s2-9000","s1-9001","s2-9001"]' "$(ctl lb backends --json | jq -c 'map(.name)')" "$vip: backends of the reload"
    assert_eq "$before" "$(placed "$host1")" "$vip: servers of the connections when one was removed"
    configure "$@" 9000:1 9001:1000
    reload
    assert_eq "$before" "$(placed "$host1")" "$vip: servers of the connections when all weights were changed"

    # Each sends one more block at least.
    finish_connections
    assert_json ".connections == $COUNT and .blocks >= $COUNT * 2 and .broken == []" "$CONNECTIONS" "$vip: all connections live"
    assert_json '.drops == []' "$(ctl stats --json)" "$vip: nothing is dropped"
    assert_clean
    stop_evnfd
}

lives_through_reloads "$VIP" "$S1" "$S2"
lives_through_reloads "$VIP6" 2001:db8:31::2 2001:db8:32::2

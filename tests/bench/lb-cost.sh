#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Nanoseconds per packet through entry, lb and forwarder, on one core: lb_cost.cpp says what is measured and how.
source "$(dirname "$0")/../lab/lab.sh"

rounds=7
[[ ${1:-} != --quick ]] || rounds=3
readonly CPU=0 FAMILIES=${2:-46}

# mac PORT
mac() { vnf ip -j link show "$1" | jq -r '.[0].address'; }

# measure VIP SERVER CLIENT V6
measure() {
    config "$LAB_DIR/evnf.yaml" <<YAML
ports: [{name: eth0, chain: [lb]}, {name: eth1, chain: [lb]}]
plugins:
  lb:
    services: [{name: web, vip: "$1", port: 80, proto: tcp, backends: [{name: s1, address: "$2"}]}]
    max_connections: 4000000
YAML
    start_evnfd "$LAB_DIR/evnf.yaml"
    # Whom the kernel asks for their MAC addresses, they have.
    vnf ping -q -c 1 -W 2 "$2" >/dev/null
    vnf ping -q -c 1 -W 2 "$3" >/dev/null
    taskset --cpu-list "$CPU" "$EVNF_BUILD/bin/evnf_lb_cost" --vnf "/run/netns/$LAB-vnf" --vip "$1" --server "$2" \
        --eth0 "$(mac eth0)" --eth1 "$(mac eth1)" --v6 "$4" --rounds "$rounds"
    assert_json '.drops == []' "$(ctl stats --json)" "nothing is dropped"
    stop_evnfd
}

lab_up
vnf ip route add 128.0.0.0/1 via 10.1.0.2
vnf ip route add 2001:db8:8::/48 via 2001:db8:1::2
[[ $FAMILIES != *4* ]] || measure "$VIP" "$S1" 10.1.0.2 0
[[ $FAMILIES != *6* ]] || measure "$VIP6" 2001:db8:31::2 2001:db8:1::2 1

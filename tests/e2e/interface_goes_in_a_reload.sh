#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A port's interface is deleted while a reload is under way, at whatever moment: the reload works, or is refused with
# port and remedy; the other ports lose nothing, the next reload works, and so does the port when it is back.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
file=$LAB_DIR/evnf.yaml
configuration() {
    config "$file" <<YAML
ports:
  - {name: eth0, chain: [fw]}
  - {name: eth1, chain: [fw]}
  - {name: eth3, hook: $1, chain: [fw]}
plugins:
  fw: {default: netfilter, rules: [{name: stream, proto: udp, dport: 9000, action: allow}]}
YAML
}
plug() {
    vnf ip link add eth3 type veth peer name eth4
    vnf ip link set eth3 up
    vnf ip link set eth4 up
}
is() { [[ $(ctl status --json | jq -c '.ports[2] | [.hook, .up]') == "$1" ]]; }

plug
for host in $S1 $S2; do vnf ping -q -c 1 -W 2 "$host" >/dev/null || fail "no way to $host"; done
configuration native
start_evnfd "$file"
start_stream others client s1 "$S1:9000"
refused=0
for ((round = 0; round < 30; round++)); do
    hook=$([[ $((round % 2)) == 0 ]] && echo native || echo tc)
    configuration "$hook"
    { sleep "0.$(printf %03d $((round * 10)))" && vnf ip link del eth3; } &
    deleting=$!
    if ! ctl reload >"$LAB_DIR/reload" 2>&1; then
        ((++refused))
        grep -q "port eth3: its interface went away meanwhile (.*): reload again" "$LAB_DIR/reload" ||
            fail "round $round: $(cat "$LAB_DIR/reload")"
    fi
    wait $deleting
    ctl reload >/dev/null || fail "round $round: no reload without the interface"
    is '["none",false]' || fail "round $round: the interface is gone, and the status does not say so"
    plug
    assert_eventually "is '[\"$hook\",true]'" "round $round: the port is back"
done
echo "$refused of 30 reloads were refused"
finish_stream others
assert_clean

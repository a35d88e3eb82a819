#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# XDP at the clients' port, tc at the servers', offloads on. What XDP hands to the kernel in the middle of its chain is
# merged to large packets on its way (GRO), since all of a connection carry the same metadata; the merged ones go on.
# shellcheck disable=SC2034 # read by lab.sh
LAB_OFFLOADS=on
source "$(dirname "$0")/../lab/lab.sh"
readonly BULK=24000000 MTU=1500

lab_up
start_nginx s1 s2
start_digest s1 s2
head -c $BULK /dev/urandom >"$LAB_DIR/bulk"
for host in s1 s2; do cp "$LAB_DIR/bulk" "$LAB_DIR/$host/html/bulk"; done
digest=$(sha256sum <"$LAB_DIR/bulk" | cut -c-64)
# Since all that the clients send goes by way of the kernel, no checksum is lost; a redirect from XDP would lose them.
{
    sed 's/name: eth0,/name: eth0, hook: native,/; s/name: eth[12],/& hook: tc,/
        /^  fw:/,/^  dpi:/ { /^    /d; s/^  fw:/  fw: {default: netfilter}/ }' "$LAB_SOURCE/chain.yaml"
    printf '      - {name: digest, vip: 10.2.0.2, port: 9000, proto: tcp, backends: [{name: s1, address: 10.3.1.2}, {name: s2, address: 10.3.2.2}]}\n'
} | config "$LAB_DIR/evnf.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"
assert_json '[.ports[].hook] == ["native", "tc", "tc"]' "$(ctl status --json)" "the hooks in use"

assert_eq "$digest" "$(digest_of "$VIP" <"$LAB_DIR/bulk")" "digest of what was sent to the VIP"
assert_eq "$digest" "$(client curl -sf --max-time 20 "http://$VIP/bulk" | sha256sum | cut -c-64)" "digest of what came from the VIP"
assert_eq "$digest" "$(client curl -sf --max-time 20 "http://[$VIP6]/bulk" | sha256sum | cut -c-64)" "digest of what came from the IPv6 VIP"

# XDP saw frames of the MTU; half as many at most came back, each counted once by every stage behind.
ports=$(ctl stats --json | jq .ports)
assert_json ".[0] | .kernel > $BULK / $MTU and .resumed > 100 and .resumed < .kernel / 2" "$ports" "merged packets came back"
assert_json "map(select(.dport == 9000 and .bytes > $BULK and .bytes < $BULK * 1.1 and .packets < $BULK / $MTU)) | length == 1" \
    "$(ctl dpi flows --json)" "what dpi counts of the merged packets"
assert_json "[.[] | select(.service == \"digest\") | .bytes] | add > $BULK" "$(ctl lb backends --json)" "what lb balanced"
# From the servers, large packets stay what they are.
assert_json '.[1:] | map(.packets) as $packets | map(.bytes) | add / ($packets | add) > 2000' "$ports" "size of packets from the servers"
assert_clean

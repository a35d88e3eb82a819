#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Somebody else has the name of the device for VIPs, or routes a VIP: the first is refused and the second warned of, both
# with a remedy.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml
config "$file" <"$LAB_SOURCE/chain.yaml"
start_evnfd "$file"
generation=$(generation)
serves() { client curl -sf --max-time 2 -o /dev/null "http://$VIP/" || fail "$1: the chain does not serve"; }

# Nothing of this chain leaves for netfilter, so it needed no device.
vnf ip link add evnf0 type veth peer name others
sed '/^  fw:/,/^  dpi:/ { /^    /d; s/^  fw:/  fw: {default: netfilter}/ }' "$LAB_SOURCE/chain.yaml" | config "$file"
ctl reload 2>"$LAB_DIR/refusal" && fail "the reload was not refused"
grep -q "an interface evnf0 is there that is not eVNF's.*rename it (ip link set evnf0 name NAME)" "$LAB_DIR/refusal" ||
    fail "$(cat "$LAB_DIR/refusal")"
assert_eq "$generation" "$(generation)" "generation"
serves "a foreign evnf0"

# The remedy, as it was told.
vnf ip link set evnf0 name theirs
vnf ip route add "$VIP" via "$S1"
ctl reload >/dev/null || fail "no reload after the remedy"
grep -q "VIP $VIP has a route already, which stays.*ip route del $VIP" "$EVNFD_LOG" || fail "no warning of the other route"
assert_eq eth1 "$(vnf ip -j route show "$VIP" | jq -r '.[].dev')" "the other route"
assert_eq evnf0 "$(vnf ip -6 -j route show "$VIP6" | jq -r '.[].dev')" "the route of the other VIP"
vnf ip route del "$VIP"
ctl reload >/dev/null || fail "no reload after the remedy"
assert_eq evnf0 "$(vnf ip -j route show "$VIP" | jq -r '.[].dev')" "the VIP's route"
serves "after both remedies"
assert_clean

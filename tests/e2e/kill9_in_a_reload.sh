#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill -9 at any moment of a reload that changes the size of state: no request fails, a connection survives, nothing
# stays pinned that is not used.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml
sized() { sed "s/^  lb:\$/  lb:\n    max_connections: $1/" "$LAB_SOURCE/chain.yaml" | config "$file"; }
pins() { (cd "$PIN_DIR" && find . | sed -E 's|^(./chains/).+|\1N|' | sort); }

sized 100000
start_evnfd "$file"
pins=$(pins)
client curl -sf -o "$LAB_DIR/slow" "http://$VIP/slow" &
download=$!
assert_eventually '[[ -s $LAB_DIR/slow ]]' "the download begins"
start_load kept 30 "http://$VIP/"

# A reload of the lab's configuration takes 0.2 to 0.4 s.
for milliseconds in {0..380..20}; do
    sized $((100000 + 1000 * (milliseconds / 20 % 2)))
    kill -HUP "$EVNFD_PID"
    sleep "0.$(printf %03d "$milliseconds")"
    end_evnfd KILL
    start_evnfd "$file"
    assert_eq "$pins" "$(pins)" "pins after a kill at $milliseconds ms"
done
wait "$download" || fail "the connection did not survive"
assert_eq 4194304 "$(stat -c %s "$LAB_DIR/slow")" "bytes of the download"
finish_load
assert_load_clean "requests over kills in reloads"
assert_no_packet_lost

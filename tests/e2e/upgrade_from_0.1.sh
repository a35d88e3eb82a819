#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# An evnfd built from this repository's own history runs; this build takes over from it, after kill -9 and after a stop
# with keep: no request fails, a download survives, counters go on where the layouts match.
source "$(dirname "$0")/../lab/lab.sh"

readonly OLDER=3baa6c8 # 0.1.0, before packets came back from the kernel
older=$EVNF_BUILD/older-$OLDER
repository=$LAB_SOURCE/../..

# Built once, since the directory is named by the commit; a build that was cut off goes on.
build_older() {
    [[ ! -e $older/built ]] || return 0
    git -C "$repository" cat-file -e "$OLDER^{commit}" 2>/dev/null ||
        fail "commit $OLDER is not in this clone: git fetch --unshallow"
    local launcher=()
    command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    if [[ ! -d $older/source ]]; then
        mkdir -p "$older/source.part"
        git -C "$repository" archive "$OLDER" | tar -x -C "$older/source.part"
        mv "$older/source.part" "$older/source"
    fi
    {
        cmake -G Ninja -S "$older/source" -B "$older" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DBUILD_TESTING=OFF "${launcher[@]}" &&
            cmake --build "$older" --target evnfd evnfctl fw dpi lb
    } >"$older/log" 2>&1 || fail "commit $OLDER does not build: $(tail -n 30 "$older/log")"
    touch "$older/built"
}

# dropped WHAT: the new daemon has said that it could not take that over.
dropped() { grep -Eq "$1.*(its content is not kept|starts empty)|state of another version" <(tail -n +"$((lines + 1))" "$EVNFD_LOG"); }

# went_on WHAT BEFORE NOW
went_on() {
    (($3 > $2)) || dropped "$1" || fail "$1: the counter began anew ($2, then $3), and no message says so"
}

packets() { ctl stats --json | jq '.ports[] | select(.name == "eth0") | .packets'; }

# take_over SIGNAL: from the older evnfd, which ends by that signal, to this one.
take_over() {
    local signal=$1 download eth0 web
    EVNFD=$older/bin/evnfd start_evnfd "$LAB_DIR/evnf.yaml"
    client curl -sf -o "$LAB_DIR/slow" "http://$VIP/slow" &
    download=$!
    assert_eventually '[[ -s $LAB_DIR/slow ]]' "the download begins"
    start_load "over$signal" 7 "http://$VIP/"
    assert_answers 1000 "requests are answered by way of the older evnfd"
    assert_json ".version == \"0.1.0\"" "$(ctl status --json)" "the older evnfd runs"
    eth0=$(packets) web=$(rule_packets web)
    lines=$(wc -l <"$EVNFD_LOG")
    end_evnfd "$signal"
    assert_answers 1000 "requests are answered without a daemon"
    start_evnfd "$LAB_DIR/evnf.yaml"
    assert_eq "$EVNF_BUILD/bin/evnfd" "$(readlink "/proc/$EVNFD_PID/exe")" "the evnfd that runs"
    went_on evnf_ports "$eth0" "$(packets)"
    went_on fw "$web" "$(rule_packets web)"
    finish_load
    assert_load_clean "requests over $signal and the upgrade"
    wait "$download" || fail "$signal: the connection did not survive"
    assert_eq 4194304 "$(stat -c %s "$LAB_DIR/slow")" "bytes of the download"
    rm "$LAB_DIR/slow"
    assert_no_packet_lost
    assert_eq "" "$(find "$PIN_DIR" -name '*-next')" "leftovers of the older evnfd"
}

build_older
lab_up
start_nginx s1 s2
config "$LAB_DIR/evnf.yaml" "on_stop: keep" <"$LAB_SOURCE/chain.yaml"
take_over KILL
ctl detach >/dev/null
assert_eventually '[[ ! -S $EVNFD_SOCKET ]]' "evnfd has ended"
take_over TERM

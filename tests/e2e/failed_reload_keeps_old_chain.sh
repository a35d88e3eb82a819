#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Whatever a reload or a start fails of, the old chain carries traffic on, the message names cause and remedy, no pin
# is left behind, and once the cause is gone a reload works.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
file=$LAB_DIR/evnf.yaml
cgroup=

# An evnfd of our own, with plugins beside it that misbehave.
mkdir -p "$LAB_DIR/bin" "$LAB_DIR/lib"
cp "$EVNFD" "$LAB_DIR/bin/"
cp -r "$EVNF_BUILD/lib/evnf" "$LAB_DIR/lib/"
cp "$EVNF_BUILD"/lib/evnf-loader-tests/{rejected,wrong_abi,throws_in_start,stuck}.so "$LAB_DIR/lib/evnf/"
EVNFD=$LAB_DIR/bin/evnfd

good_config() { config "$file" <"$LAB_SOURCE/chain.yaml"; }
# with_stage PLUGIN: the good configuration with one more stage at eth0.
with_stage() {
    sed "s/chain: \[fw, dpi, lb\]/chain: [fw, dpi, lb, $1]/; s/^  dpi: {}/  dpi: {}\n  $1: {}/" "$LAB_SOURCE/chain.yaml" | config "$file"
}

# Numbers of generations left out.
pins() { (cd "$PIN_DIR" && find . | sed -E 's|^(./chains/).+|\1N|' | sort); }

serves() {
    client curl -sf --max-time 2 "http://$VIP/" >/dev/null || fail "$1: the old chain does not serve any more"
    client curl -s --max-time 1 "http://$S1:8081/" && fail "$1: the old chain does not filter any more"
    return 0
}

# assert_refusal FILE WHAT TEXT…: the message in the file has every text.
assert_refusal() {
    local file=$1 what=$2 text
    shift 2
    for text in "$@"; do grep -Fq -- "$text" "$file" || fail "$what: no '$text' in: $(cat "$file")"; done
}

# refused WHAT TEXT…: a reload is refused with every text, and changes nothing.
refused() {
    ctl reload 2>"$LAB_DIR/refusal" && fail "$1: the reload was not refused"
    assert_refusal "$LAB_DIR/refusal" "$@"
    assert_eq "$generation" "$(generation)" "$1: generation"
    assert_eq "$pins" "$(pins)" "$1: pins"
    serves "$1"
}

# accepted WHAT: with the good configuration, a reload works again.
accepted() {
    good_config
    ctl reload >/dev/null || fail "$1: no reload once the cause is gone"
    (($(generation) > generation)) || fail "$1: no new generation"
    generation=$(generation)
    assert_eq "$pins" "$(pins)" "$1: pins after the reload"
    serves "$1"
}

# A memory limit on evnfd alone, by whichever version of cgroups there is.
limit_memory() {
    local limit=memory.max
    cgroup=/sys/fs/cgroup/$LAB
    if [[ -d /sys/fs/cgroup/memory ]]; then
        cgroup=/sys/fs/cgroup/memory/$LAB limit=memory.limit_in_bytes
    fi
    trap 'lab_remove "$LAB"; rmdir "$cgroup"' EXIT
    mkdir "$cgroup"
    [[ -e $cgroup/$limit ]] || fail "no memory controller for $cgroup"
    echo "$1" >"$cgroup/$limit"
    echo "$EVNFD_PID" >"$cgroup/cgroup.procs"
}
lift_memory_limit() {
    echo "$EVNFD_PID" >"$(dirname "$cgroup")/cgroup.procs"
    rmdir "$cgroup"
    trap 'lab_remove "$LAB"' EXIT
}

good_config
start_evnfd "$file"
generation=$(generation)
pins=$(pins)
start_load kept 20 "http://$VIP/"

limit_memory 128M
sed 's/^  lb:$/  lb:\n    max_connections: 4000000/' "$LAB_SOURCE/chain.yaml" | config "$file"
refused "no memory" "lb: cannot load its XDP program: Cannot allocate memory" "cgroup (MemoryMax=)" "map 'lb_connections'"
lift_memory_limit
accepted "no memory"

mount -o remount,ro "$LAB_DIR/bpf"
refused "read-only bpffs" "$PIN_DIR/next" "Read-only file system" "mount -o remount,rw"
sed 's/name: blocked,/name: barred,/' "$LAB_SOURCE/chain.yaml" | config "$file"
refused "read-only bpffs, where one plugin's rules changed" "$PIN_DIR/chains" "Read-only file system" "mount -o remount,rw"
mount -o remount,rw "$LAB_DIR/bpf"
accepted "read-only bpffs"

with_stage rejected
refused "verifier" "rejected: cannot load its XDP program: the kernel's verifier refuses it" "invalid access to packet"
with_stage wrong_abi
refused "plugin of another ABI" "$file:" "wrong_abi.so: was built for plugin ABI" "rebuild the plugin"
with_stage not_there
refused "missing plugin" "$file:" "not_there.so: No such file or directory"
with_stage throws_in_start
refused "plugin that does not start" "plugin throws_in_start: start failed: no such luck"
with_stage stuck
refused "stage that does not go on" "self-test of port eth0: the probe did not reach"
accepted "bad plugins"

# A failure in the middle of the swap: the last port belongs to somebody else.
vnf ip link add eth3 type veth peer name eth4
bpftool prog load "$EVNF_BUILD/tests/e2e/foreign_bpf.bpf.o" "$LAB_DIR/bpf/foreign"
vnf bpftool net attach xdp pinned "$LAB_DIR/bpf/foreign" dev eth3
sed 's/^forwarding:/  - {name: eth3, chain: [fw]}\nforwarding:/' "$LAB_SOURCE/chain.yaml" | config "$file"
refused "foreign program" "port eth3: another XDP program" "ip link set dev eth3 xdp off"
accepted "foreign program"

finish_load
assert_load_clean "requests over refused reloads"
assert_clean
end_evnfd KILL

# starts_not WHAT TEXT… -- COMMAND…: evnfd ends at once, with every text.
starts_not() {
    local what=$1 texts=() status=0
    shift
    while [[ $1 != -- ]]; do
        texts+=("$1")
        shift
    done
    shift
    vnf timeout 10 "$@" "$EVNFD" -c "$file" --foreground >"$LAB_DIR/refusal" 2>&1 || status=$?
    assert_eq 2 "$status" "$what: exit status"
    assert_refusal "$LAB_DIR/refusal" "$what" "${texts[@]}"
    assert_eq "$pins" "$(pins)" "$what: pins"
    serves "$what"
}

starts_not "no capabilities" "Operation not permitted" "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON" -- \
    setpriv --bounding-set=-bpf,-perfmon,-sys_admin --inh-caps=-bpf,-perfmon,-sys_admin
mount -o remount,ro "$LAB_DIR/bpf"
starts_not "read-only bpffs" "$PIN_DIR" "Read-only file system" "mount -o remount,rw" -- env
mount -o remount,rw "$LAB_DIR/bpf"

# No room: for the control socket, and for the log, which is no reason not to work.
mkdir "$LAB_DIR/full"
mount -t tmpfs -o size=4k,nr_inodes=2 tmpfs "$LAB_DIR/full"
trap 'umount -l "$LAB_DIR/full"; lab_remove "$LAB"' EXIT
head -c 4096 /dev/zero >"$LAB_DIR/full/log"
EVNFD_SOCKET=$LAB_DIR/full/evnfd.sock good_config
starts_not "no room for the socket" "$LAB_DIR/full/evnfd.sock" "No space left on device" "make room" -- env
good_config
EVNFD_LOG=$LAB_DIR/full/log start_evnfd "$file"
accepted "no room for the log"
assert_no_packet_lost

#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The benchmarks: run.sh [NAME...] [--quick]. Each NAME.sh prints its samples; what they say is left in bench/ of the
# build as NAME.json and NAME.png. Run by ./dev bench, on a machine that does nothing else.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export EVNF_BUILD=${EVNF_BUILD:-$(cd "$here/../.." && pwd)/build}
readonly RESULTS=$EVNF_BUILD/bench ALL=(pps cost tc syn-flood lb lb-cost dpi dpi-flows)

die() {
    printf 'bench: %s\n' "$*" >&2
    exit 1
}

names=() quick=
for argument in "$@"; do
    case $argument in
    --quick) quick=--quick ;;
    pps | cost | tc | syn-flood | lb | lb-cost | dpi | dpi-flows) names+=("$argument") ;;
    *) die "unknown benchmark '$argument' (${ALL[*]})" ;;
    esac
done
((${#names[@]})) || names=("${ALL[@]}")

commit() {
    git -C "$here" describe --always --dirty 2>/dev/null || echo unknown
}

# report NAME UNIT: the samples to JSON, a table and a picture of those that have that unit, or say none.
report() {
    local name=$1 unit=$2
    jq -s -f "$here/report.jq" --arg bench "$name" --arg unit "$unit" --arg commit "$(commit)" \
        --arg machine "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
        --arg kernel "$(uname -r)" --arg iptables "$(iptables -V)" \
        "$RESULTS/$name.samples" >"$RESULTS/$name.json"
    jq -r -f "$here/table.jq" "$RESULTS/$name.json"
    rm "$RESULTS/$name.samples"
    printf '%s\n' "$RESULTS/$name.json"
    draw "$name" "$unit" "$name"
}

# draw NAME UNIT PICTURE: what the report has in that unit.
draw() {
    local name=$1 unit=$2 picture=$3
    jq -r -f "$here/bars.jq" --arg unit "$unit" "$RESULTS/$name.json" >"$RESULTS/$name.bars"
    gnuplot -e "output = '$RESULTS/$picture.png'" "$RESULTS/$name.bars" "$here/bars.gp"
    rm "$RESULTS/$name.bars"
    printf '%s\n' "$RESULTS/$picture.png"
}

mkdir -p "$RESULTS"
for name in "${names[@]}"; do
    printf '==> bench: %s\n' "$name"
    "$here/$name.sh" $quick >"$RESULTS/$name.samples"
    case $name in
    pps) report pps Mpps ;;
    cost) report cost ns ;;
    lb-cost) report lb-cost ns ;;
    tc) report tc Gbit/s ;;
    syn-flood) report syn-flood Mbit/s ;;
    lb)
        report lb 'k requests/s'
        draw lb ms lb-p99
        draw lb 's of CPU/M requests' lb-cpu
        draw lb Mpps lb-packets
        ;;
    dpi)
        report dpi Gbit/s
        draw dpi '% of a core' dpi-cpu
        ;;
    dpi-flows) report dpi-flows bytes/flow ;;
    esac
done

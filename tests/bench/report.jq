# SPDX-License-Identifier: MIT
# Samples {case, subject, round, value} to the report; one of another unit than $unit says which. A ratio is taken between the two values of one round.
def median: sort | if length % 2 == 1 then .[length / 2 | floor] else (.[length / 2] + .[length / 2 - 1]) / 2 end;
def rounded: if . >= 100 then round elif . >= 1 then . * 100 | round / 100 else . * 10000 | round / 10000 end;
def spread: {median: (median | rounded), min: (min | rounded), max: (max | rounded)};
# Like group_by, but in the order of the first of each group.
def grouped(key): reduce .[] as $item ({}; .[$item | key] += [$item]) | [.[]];
def values_by_round: map({key: (.round | tostring), value}) | from_entries;

def result: {case: .[0].case, subject: .[0].subject, unit: (.[0].unit // $unit)} + (map(.value) | spread) + {runs: length};
def ratio($ours; $theirs):
    ($theirs | values_by_round) as $of
    | {case: $ours[0].case, subject: $ours[0].subject, to: $theirs[0].subject}
        + ([$ours[] | .value / $of[.round | tostring]] | spread);
# Ways to run eVNF are compared with what is not eVNF; with nothing of it, in no number.
def is_ours: .[0].subject | startswith("evnf");
def ratios:
    grouped(.subject)
    | map(select(is_ours | not) | select(all(.[]; .value > 0))) as $others
    | [.[] | select(is_ours) | . as $ours | $others[] | ratio($ours; .)];

{
    bench: $bench, machine: $machine, kernel: $kernel, commit: $commit,
    results: grouped("\(.case) \(.subject)") | map(result),
    ratios: grouped(.case) | map(ratios) | add
} + if any(.[]; .subject == "iptables") then {iptables: $iptables} else {} end

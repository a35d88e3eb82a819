# SPDX-License-Identifier: MIT
# What a report has in $unit, as bars.gp draws it: a row for each bar from top to bottom, half a row between the groups.
def grouped(key): reduce .[] as $item ({}; .[$item | key] += [$item]) | [.[]];
def block(name): "$\(name) << END", (.[] | map(tostring) | join("\t")), "END";
def headline:
    {
        pps: "Packets per second: 64-byte UDP, one core for everything",
        cost: "Cost of the fast path: time per packet on one core",
        "lb-cost": "Entry, lb and forwarder: time per packet on one core",
        tc: "hook tc: one TCP connection over veth with GSO on",
        "syn-flood": "A paced TCP flow beside a SYN flood from spoofed sources",
        lb: {
            "k requests/s": "Web requests over veth: lb at tc, HAProxy, routing; two cores for everything",
            ms: "99 % of the answers come within: 36 connections",
            "s of CPU/M requests": "CPU time of the process for a million requests",
            Mpps: "64-byte packets to a VIP, one core for everything"
        }[$unit],
        dpi: {
            "Gbit/s": "4 flows of 1500-byte packets: fw and dpi, iptables and ndpiReader",
            "% of a core": "4 flows of 1500-byte packets: the slow path's share of its core"
        }[$unit],
        "dpi-flows": {
            "bytes/flow": "A million flows at once: memory for each"
        }[$unit]
    }[.bench];
def circumstances:
    "\(.machine), Linux \(.kernel), commit \(.commit). Median of \(.results[0].runs) runs, minimum to maximum";
def caption($ratios):
    . as $bar
    | [$ratios[] | select(.case == $bar.case and .subject == $bar.subject) | "\(.median) × \(.to)"]
    | "\($bar.median | . * 1000 | round / 1000)" + (if . == [] then "" else "   (" + join(", ") + ")" end);
def name:
    {
        "route-64B": "routing", "fw-1-rule-64B": "fw, 1 rule", "fw-100-rules-64B": "fw, 100 rules",
        "fw-1000-rules-64B": "fw, 1000 rules", "fw-10000-rules-64B": "fw, 10000 rules",
        "fw-dpi-64B": "fw, dpi", "chain-64B": "fw, dpi, lb: routed", "vip-64B": "fw, dpi, lb: to a VIP",
        "empty-program": "empty program", "no-plugin": "entry and forwarder", "fw-1-rule": "fw, 1 rule",
        "fw-100-rules": "fw, 100 rules", "fw-1-structured": "1 rule: theirs", "fw-1-random": "1 rule: random",
        "fw-10-structured": "10 rules: theirs", "fw-10-random": "10 rules: random",
        "fw-100-structured": "100 rules: theirs", "fw-100-random": "100 rules: random",
        "fw-1000-structured": "1000 rules: theirs", "fw-1000-random": "1000 rules: random",
        "fw-10000-structured": "10000 rules: theirs", "fw-10000-random": "10000 rules: random",
        "fw-known-connection": "fw, known connection", "dpi-known-flow": "dpi, known flow",
        "dpi-inspected-1500B": "dpi copies 1500 B", "dpi-flows-1M": "dpi, 1M known flows", "no-plugin-1M": "the same without dpi",
        "dpi-known-flow-share": "dpi's: known flow", "dpi-inspected-1500B-share": "dpi's: copies 1500 B",
        "dpi-flows-1M-share": "dpi's: 1M flows", "lb-no-service": "lb, no service",
        "lb-known-connection": "lb, known connection",
        "fw-10-flows": "10 rules: 1000 flows", "fw-10-spoofed": "10 rules: spoofed",
        "fw-10000-flows": "10000 rules: 1000 flows", "fw-10000-spoofed": "10000 rules: spoofed",
        "fw-set-10-v4": "set of 10, IPv4", "fw-set-1000000-v4": "set of a million, IPv4",
        "fw-set-10-v6": "set of 10, IPv6", "fw-set-1000000-v6": "set of a million, IPv6",
        "tc-forwarder": "entry and forwarder", "tc-chain": "fw, dpi, lb: routed", "tc-vip": "fw, dpi, lb: to a VIP",
        allowed: "SYNs are allowed", denied: "SYNs are denied",
        "chain-routed": "fw, dpi, lb: routed", "chain-vip": "fw, dpi, lb: to a VIP",
        kept: "kept connections", paced: "kept, with pauses", new: "a new one for each", "kept-p99": "kept connections",
        "paced-p99": "kept, with pauses", "new-p99": "a new one for each", "udp-64B": "UDP, 256 flows",
        "syn-64B": "SYNs, each new",
        frame: "the loop alone", "to-server-1": "to server: 1 flow", "to-client-1": "to client: 1 flow",
        "to-server-1M": "1M flows", "to-client-1M": "1M flows, back", "to-client-1M-clients": "1M clients", syn: "SYN",
        opening: "3-way handshake",
        "0-elephants": "no elephants", "25-elephants": "25 % elephants", "50-elephants": "50 % elephants",
        "75-elephants": "75 % elephants", "100-elephants": "100 % elephants",
        "held-kernel": "maps in the kernel", "held-inspected": "evnfd: inspected", "held-known": "evnfd: with a verdict"
    } as $names
    | (.case | rtrimstr("-cpu")) as $case
    | ($case | rtrimstr("-v6")) as $v4
    | $names[$case] // (if $v4 != $case and $names[$v4] then $names[$v4] + ", v6" else $case end);
# One case's bars, beginning at row $top.
def bars($top; $ratios):
    to_entries[] | [$top + .key, .value.median, .value.min, .value.max, .value.subject, (.value | caption($ratios))];

.results |= map(select(.unit == $unit))
| .ratios as $ratios
| (reduce (.results | grouped(.case))[] as $group ({row: 0, names: [], bars: []};
    .names += [[.row + ($group | length - 1) / 2, ($group[0] | name)]]
    | .bars += [.row as $top | $group | bars($top; $ratios)]
    | .row += ($group | length) + 0.5)) as $drawn
| ($drawn.bars | block("bars")),
    ($drawn.names | block("names")),
    "rows = \($drawn.row - 0.5)",
    # Captions need room, for each ratio more of it.
    "right = \(([.results[].max] | max) * (1.15 + 0.32 * ([$ratios | group_by([.case, .subject])[] | length] | max // 0)))",
    "subjects = \(.results | map(.subject) | unique | join(" ") | @json)",
    "unit = \(.results[0].unit | @json)",
    "headline = \(headline | @json)",
    "circumstances = \(circumstances | @json)"

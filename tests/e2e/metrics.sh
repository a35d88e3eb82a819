#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# daemon.metrics: what Prometheus's own tool accepts, with the numbers that evnfctl tells; it moves with a reload, and an
# address that is taken refuses the reload.
source "$(dirname "$0")/../lab/lab.sh"
lab_up
start_nginx s1 s2
config "$LAB_DIR/evnf.yaml" 'metrics: 127.0.0.1:9471' <"$LAB_SOURCE/chain.yaml"
start_evnfd "$LAB_DIR/evnf.yaml"
client curl -sf --max-time 3 "http://$VIP/" >/dev/null || fail "no answer over HTTP"
assert_eventually '[[ $(ctl dpi flows --json | jq "[.[] | select(.app == \"HTTP\" and .state == \"classified\")] | length") == 1 ]]' "one flow named HTTP"

metrics() { vnf curl -sf --max-time 3 "http://127.0.0.1:${1:-9471}/metrics"; }
# value SERIES: of the scrape in $text; empty where it is not there.
value() { awk -v series="$1" '$1 == series { print $2 }' <<<"$text"; }

text=$(metrics)
problems=$(promtool check metrics <<<"$text" 2>&1) || fail "promtool: $problems"
assert_eq "" "$problems" "what promtool has to say"
assert_eq "$(ctl stats --json | jq '.ports[0].packets')" "$(value 'evnf_port_packets_total{port="eth0"}')" "packets at eth0"
assert_eq "$(ctl stats --json | jq '.ports[0].forward')" "$(value 'evnf_port_verdicts_total{port="eth0",verdict="forward"}')" "packets forwarded from eth0"
assert_eq "$(rule_packets web)" "$(value 'evnf_fw_rule_packets_total{plugin="fw",rule="web",action="allow"}')" "packets of fw's rule"
assert_eq 1 "$(value 'evnf_dpi_app_flows_total{plugin="dpi",app="HTTP"}')" "flows of HTTP"
assert_eq "$(ctl lb backends --json | jq '[.[] | select(.service == "web") | .packets] | add')" \
    "$(($(value 'evnf_lb_backend_packets_total{plugin="lb",service="web",backend="s1"}') + $(value 'evnf_lb_backend_packets_total{plugin="lb",service="web",backend="s2"}')))" "packets of lb's backends"
assert_eq "$(generation)" "$(value evnf_generation)" "generation"
assert_eq 404 "$(vnf curl -s -o /dev/null -w '%{http_code}' --max-time 3 http://127.0.0.1:9471/)" "status of another path"

sed -i 's/9471/9472/' "$LAB_DIR/evnf.yaml"
reload
assert_eventually 'metrics 9472 >/dev/null' "metrics at the new address"
metrics 9471 >/dev/null && fail "metrics at the old address still"
text=$(metrics 9472)
assert_eq 1 "$(value 'evnf_reloads_total{result="applied"}')" "reloads"

vnf socat TCP-LISTEN:9473,bind=127.0.0.1,fork EXEC:true &
assert_eventually '[[ -n $(vnf ss -Hltn "sport = :9473") ]]' "somebody else listens"
sed -i 's/9472/9473/' "$LAB_DIR/evnf.yaml"
refusal=$(ctl reload 2>&1) && fail "a reload to an address that is taken was not refused"
[[ $refusal == *"cannot listen on 127.0.0.1:9473"* ]] || fail "the refusal says: $refusal"
text=$(metrics 9472)
assert_eq 1 "$(value 'evnf_reloads_total{result="refused"}')" "reloads that were refused"
assert_clean

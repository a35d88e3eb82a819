#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Four real servers with real SNMP agents: their shares follow their loads, settle, and return; agents that fail disturb neither
# packets nor the loop.
source "$(dirname "$0")/../lab/lab.sh"
source "$LAB_SOURCE/snmp.sh"
lab_up
for i in 3 4; do
    lab_host "s$i"
    lab_wire vnf "eth$i" "s$i" eth0 "10.3.$i" "2001:db8:3$i"
    lab_default "s$i" "10.3.$i.1" "2001:db8:3$i::1"
done
start_nginx s1 s2 s3 s4
start_snmpd s1 0.10
start_snmpd s2 0.30
start_snmpd s3 0.60
start_snmpd s4 0.90

INTERVAL_MS=250
config "$LAB_DIR/evnf.yaml" 'log_level: debug' <<YAML
ports:
  - {name: eth0, chain: [lb]}
  - {name: eth1, chain: [lb]}
  - {name: eth2, chain: [lb]}
  - {name: eth3, chain: [lb]}
  - {name: eth4, chain: [lb]}
forwarding: {mode: route}
plugins:
  lb:
    services:
      - name: web
        vip: $VIP
        port: 80
        proto: tcp
        backends:
          - {name: s1, address: 10.3.1.2}
          - {name: s2, address: 10.3.2.2}
          - {name: s3, address: 10.3.3.2}
          - {name: s4, address: 10.3.4.2}
        feedback: {source: snmp, community: public, cpus: 1, interval: ${INTERVAL_MS}ms, algorithm: balanced}
      - name: web6 # over IPv6, as a user of SNMPv3, with the CPUs that the agent counts
        vip: $VIP6
        port: 80
        proto: tcp
        backends:
          - {name: s1, address: "2001:db8:31::2"}
          - {name: s2, address: "2001:db8:32::2"}
        feedback:
          source: snmp
          user: {name: $SNMP_USER, auth: sha-256, auth_password: $SNMP_AUTH, privacy: aes, privacy_password: $SNMP_PRIVACY}
          interval: 500ms
          algorithm: dynamic-feedback
YAML
start_evnfd "$LAB_DIR/evnf.yaml"

# shares: of web's slots, in thousandths, one a backend.
shares() { ctl lb feedback web --json | jq -c '[.[].slots] | add as $all | map(. * 1000 / $all | round)'; }
rounds() { sleep "$(jq -n "$1 * $INTERVAL_MS / 1000")"; }
shows() { ctl lb feedback "$1" --json | jq -e "$2" >/dev/null; }

# Six rounds after the first answers.
assert_eventually 'shows web "all(.[]; .load != null)"' "answers of all agents"
rounds 6
settled=$(shares)
assert_json '. == (sort | reverse) and .[0] > .[1] and .[1] > .[2] and .[2] > .[3]' "$settled" "shares in the order of the loads after 6 rounds"
seen=$settled
for _ in {1..25}; do # two rounds each
    rounds 2
    seen+=" $(shares)"
done
assert_json '[transpose[] | max - min] | max <= 30' "$(jq -sc . <<<"$seen")" "no share moves by more than 3 points in 50 rounds"
printf 'shares at loads 0.1 0.3 0.6 0.9: %s thousandths\n' "$settled"

# What traffic sees is what the slots say.
answers=$(for _ in {1..200}; do client curl -sf --max-time 2 "http://$VIP/"; done | sort | uniq -c | awk '{ print $2 ":" $1 }')
(($(served s1) > $(served s4))) || fail "the least loaded server has answered less than the most loaded one: $answers"
assert_json '.[0].why | test("load 0.10 below the mean 0.4[78]: \\+")' "$(ctl lb feedback web --json)" "the reason that is shown"
assert_json '[.[] | select(.service == "web") | .load] == [0.1, 0.3, 0.6, 0.9]' "$(ctl lb backends --json)" "loads in lb backends"

# SNMPv3, IPv6, and laLoad divided by the CPUs.
assert_eventually 'shows web6 "all(.[]; .load != null)"' "answers to the SNMPv3 user over IPv6"
assert_json ".[1].load * $(nproc) | . > 0.29 and . < 0.31" "$(ctl lb feedback web6 --json)" "load 0.30 divided by the CPUs"
! grep -qE "$SNMP_AUTH|$SNMP_PRIVACY" "$EVNFD_LOG" || fail "a password is in the log"

# Equal loads: equal shares.
for i in 1 2 3 4; do start_snmpd "s$i" 0.40; done
wait_until 'jq -e "all(.[]; . >= 240 and . <= 260)" <<<"$(shares)" >/dev/null' 15 || fail "shares at equal loads: $(shares)"

# One agent dies, one talks garbage, one answers after 10 s. The first falls back to the configured weight; requests go on.
start_load faults 24 "http://$VIP/"
start_snmpd s1 0.10
assert_eventually '(($(jq ".[0]" <<<"$(shares)") > 300))' "a greater share for the server with less load"
for i in 2 3 4; do stop_snmpd "s$i"; done
in_ns s3 socat UDP-RECVFROM:161,fork SYSTEM:'head -c 40 /dev/urandom' 2>/dev/null &
in_ns s4 socat UDP-RECVFROM:161,fork SYSTEM:"sleep 10; echo late; touch $LAB_DIR/late" 2>/dev/null &
for i in 2 3 4; do
    assert_eventually "shows web '.[$i - 1].why | test(\"no load for .* back to the configured weight\")'" "a server that is silent falls back"
done
assert_eventually 'shows web ".[2].why | test(\"no answer that could be read\")"' "garbage is called so"
assert_json '.[1].why | test("no answer in")' "$(ctl lb feedback web --json)" "silence is called so"
wait_until '[[ -e $LAB_DIR/late ]]' 30 || fail "the late agent did not answer"
# What feedback held up would be late in each window; what the machine was busy with is not.
# shellcheck disable=SC2016 # jq's
wait_until 'jq -e ".loop.late_ms < 50" <<<"$(ctl status --json)" >/dev/null' 30 || fail "the loop is held: $(ctl status --json | jq -c .loop)"
printf 'longest wait for the loop in 10 to 20 s: %s ms\n' "$(ctl status --json | jq .loop.late_ms)"
finish_load
assert_load_clean "requests while agents fail"

# They come back.
start_snmpd s2 0.10
assert_eventually 'shows web ".[1].load != null"' "an agent that is back is heard"
assert_clean

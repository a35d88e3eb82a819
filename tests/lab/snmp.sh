# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Real snmpd on the lab's servers, each with a load of the test's choice. Use: source lab.sh; source snmp.sh; lab_up; …

# A user of SNMPv3 that every agent knows.
# shellcheck disable=SC2034 # for the scripts that source this file
SNMP_USER=balancer SNMP_AUTH=authenticate-me SNMP_PRIVACY=hide-this-text

# start_snmpd HOST LOAD: an agent whose laLoad.1 that is; in the place of one that runs. (A SIGHUP does not make snmpd take
# another value for an override.)
start_snmpd() {
    local directory=$LAB_DIR/$1-snmp
    [[ ! -e $directory/pid ]] || stop_snmpd "$1"
    mkdir -p "$directory/state"
    cat >"$directory/snmpd.conf" <<CONF
rocommunity public
rocommunity6 public
createUser $SNMP_USER SHA-256 $SNMP_AUTH AES $SNMP_PRIVACY
rouser $SNMP_USER priv
override .1.3.6.1.4.1.2021.10.1.3.1 octet_str "$2"
CONF
    in_ns "$1" env SNMP_PERSISTENT_DIR="$directory/state" MIBS= snmpd -f -C -c "$directory/snmpd.conf" -Lf "$directory/log" \
        -p "$directory/pid" udp:161 udp6:161 &
    wait_until "[[ \$(snmp_load $1) == *$2* ]]" 10 || fail "snmpd on $1 did not start: $(cat "$directory/log")"
}

# snmp_load HOST: as its agent tells it.
snmp_load() { in_ns "$1" snmpget -v2c -c public -Oqv -m '' -t 1 -r 0 127.0.0.1 .1.3.6.1.4.1.2021.10.1.3.1 2>/dev/null || true; }

# stop_snmpd HOST
stop_snmpd() {
    local pid
    pid=$(cat "$LAB_DIR/$1-snmp/pid")
    kill -KILL "$pid"
    rm "$LAB_DIR/$1-snmp/pid"
}

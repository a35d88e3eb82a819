#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Writes what iptables-save says of a firewall such as a company has: departments, servers, guests, a list of bad
# networks, state, chains within chains; and some of what only netfilter can do. Always the same text.
set -euo pipefail

rule() { printf -- '-A %s\n' "$*"; }

# Chains are declared before rules: NAME…
chains() {
    printf ':INPUT DROP [120:9600]\n:FORWARD DROP [52:3120]\n:OUTPUT ACCEPT [9041:803377]\n'
    printf ':%s - [0:0]\n' "$@"
}

departments=({1..16})
servers=({1..14})

invalid() {
    rule 'invalid -s 10.99.0.0/16 -d 10.20.1.0/24 -m comment --comment "asymmetric routes" -j RETURN'
    rule 'invalid -m limit --limit 5/min -j LOG --log-prefix "invalid: "'
    rule 'invalid -j DROP'
}

bogons() {
    rule 'bogons -s 192.168.50.0/24 -j RETURN'
    local network
    for network in 192.168.0.0/16 172.16.0.0/12 169.254.0.0/16 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 100.64.0.0/10; do
        rule "bogons -s $network -j DROP"
    done
}

blocked() {
    local i
    for i in {1..120}; do rule "blocked -s $((20 + i % 60)).$((i * 37 % 256)).$((i * 91 % 256)).0/24 -j DROP"; done
    for i in {1..40}; do rule "blocked -d $((80 + i)).$((i * 13 % 256)).7.$((i * 5 % 250 + 1))/32 -j REJECT --reject-with icmp-port-unreachable"; done
}

tcp_flags() {
    rule 'tcp-flags -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP'
    rule 'tcp-flags -p tcp -m tcp --tcp-flags FIN,SYN FIN,SYN -j DROP'
    rule 'tcp-flags -p tcp -m tcp --tcp-flags SYN,RST SYN,RST -j DROP'
    rule 'tcp-flags -p tcp -m tcp --tcp-flags FIN,ACK FIN -j DROP'
    rule 'tcp-flags -p tcp -m conntrack --ctstate NEW -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j REJECT --reject-with tcp-reset'
}

icmp() {
    rule 'icmp -p icmp -m icmp --icmp-type 8 -s 10.10.0.0/16 -j ACCEPT'
    rule 'icmp -p icmp -m icmp --icmp-type 3/4 -j ACCEPT'
    rule 'icmp -p icmp -m icmp --icmp-type 11 -j ACCEPT'
    rule 'icmp -p icmp -m icmp --icmp-type 13 -d 10.20.0.0/16 -m limit --limit 50/sec -j ACCEPT'
    rule 'icmp -p icmp -m icmp --icmp-type 5 -j DROP'
}

department() {
    local chain=department-$1 n=$1
    rule "$chain -m mac --mac-source 02:00:00:00:00:0$((n % 9)) -p tcp -m tcp --dport 22 -j DROP"
    rule "$chain -d 10.20.$n.0/24 -p tcp -m multiport --dports 80,443,$((8000 + n)):$((8010 + n)) -m comment --comment \"\\\"$n\\\"'s own server\" -j ACCEPT"
    rule "$chain -d 10.20.0.0/16 -p tcp -m multiport --dports 80,443 -j RETURN"
    rule "$chain -p udp -m udp --dport 53 -m iprange --dst-range 10.20.1.3-10.20.1.9 -j ACCEPT"
    rule "$chain -p udp -m udp --dport 123 ! -d 10.0.0.0/8 -j ACCEPT"
    rule "$chain -p udp -m multiport --ports 500,4500 -j vpn"
    rule "$chain -m dscp --dscp 0x2e -p udp -m udp --dport 16384:32767 -j ACCEPT"
    rule "$chain -d $((60 + n)).0.0.0/8 -p tcp -m tcp ! --dport 25 -j ACCEPT"
    rule "$chain -d $((60 + n)).0.0.0/8 -p udp -m udp --sport 1024:65535 --dport 443 -j ACCEPT"
    rule "$chain -p esp -j vpn"
    rule "$chain -p tcp -j REJECT --reject-with tcp-reset"
    rule "$chain -j REJECT --reject-with icmp-port-unreachable"
}

server() {
    local chain=server-$1 n=$1
    rule "$chain -p tcp -m tcp --dport 443 -j ACCEPT"
    rule "$chain -p tcp -m tcp --dport $((3000 + n)) -s 10.20.0.0/16 -j ACCEPT"
    rule "$chain -p tcp -m multiport --dports 22,3389 ! -s 10.10.1.0/24 -j DROP"
    rule "$chain -p tcp -m multiport --dports 22,3389 -m conntrack --ctstate NEW -j ACCEPT"
    rule "$chain -p udp -m multiport --dports 53,514,$((6000 + n)):$((6005 + n)) -j ACCEPT"
    rule "$chain -p sctp -m sctp --dport $((2900 + n)) -j ACCEPT"
    rule "$chain -s 10.30.$n.0/24 -g backup"
    rule "$chain ! -p tcp -j DROP"
}

vpn() {
    rule 'vpn -d 10.40.0.0/16 -j ACCEPT'
    rule 'vpn -s 10.10.3.0/24 -j DROP'
}

backup() {
    rule 'backup -p tcp -m tcp --dport 9102:9103 -j ACCEPT'
    rule 'backup -p tcp -m tcp --dport 873 -d 10.20.4.0/22 -j ACCEPT'
    rule 'backup -p tcp -j RETURN'
}

guests() {
    rule 'guests -d 10.0.0.0/8 -j DROP'
    rule 'guests -p tcp -m multiport --dports 80,443,8080 -j ACCEPT'
    rule 'guests -p udp -m udp --dport 53 -j ACCEPT'
}

forward() {
    rule 'FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'
    rule 'FORWARD -m state --state INVALID -j invalid'
    rule 'FORWARD -i eth0 -j bogons'
    rule 'FORWARD -j blocked'
    rule 'FORWARD -p tcp -j tcp-flags'
    rule 'FORWARD -p icmp -j icmp'
    rule 'FORWARD -s 10.77.0.0/16 -o eth1 -p udp -m udp --dport 5000:6000 -j ACCEPT'
    rule 'FORWARD -s 10.77.0.0/16 -p tcp -m length --length 0:1000 -j ACCEPT'
    rule 'FORWARD -s 10.50.0.0/16 -g guests'
    local n
    for n in "${departments[@]}"; do rule "FORWARD -s 10.10.$n.0/24 -i eth0 -j department-$n"; done
    for n in "${servers[@]}"; do rule "FORWARD -d 10.20.$n.0/24 -j server-$n"; done
    rule 'FORWARD -i eth1 -s 10.20.0.0/16 -j ACCEPT'
    rule 'FORWARD -d 10.40.0.0/16 ! -s 10.10.3.0/24 -p esp -j ACCEPT'
    rule 'FORWARD -j NFLOG --nflog-group 5'
}

printf '# Generated by iptables-save v1.8.9 on Mon Mar  2 09:14:07 2026\n*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n'
rule 'PREROUTING -d 10.20.14.80/32 -p tcp -m tcp --dport 443 -j DNAT --to-destination 10.20.13.80'
rule 'POSTROUTING -s 10.50.0.0/18 -o eth1 -p tcp -m tcp --dport 8080 -j MASQUERADE'
printf 'COMMIT\n*mangle\n:PREROUTING ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\nCOMMIT\n*filter\n'
chains invalid bogons blocked tcp-flags icmp vpn backup guests "${departments[@]/#/department-}" "${servers[@]/#/server-}"
rule 'INPUT -i lo -j ACCEPT'
rule 'INPUT -p tcp -m tcp --dport 22 -j ACCEPT'
forward
invalid
bogons
blocked
tcp_flags
icmp
vpn
backup
guests
for n in "${departments[@]}"; do department "$n"; done
for n in "${servers[@]}"; do server "$n"; done
printf 'COMMIT\n# Completed on Mon Mar  2 09:14:07 2026\n'

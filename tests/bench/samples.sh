# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What benchmarks in bash measure and print: report.jq reads it. Source it.

# sample CASE SUBJECT ROUND VALUE [UNIT]: the value as jq reckons it.
sample() {
    jq -nc --arg case "$1" --arg subject "$2" --argjson round "$3" --arg unit "${5:-}" \
        "{case: \$case, subject: \$subject, round: \$round, value: ($4)} + if \$unit == \"\" then {} else {unit: \$unit} end"
}

# Nanoseconds that the threads of a process have run, in user space and in system calls.
cpu_ns() { awk '{ ns += $1 } END { printf "%.0f", ns }' /proc/"$1"/task/*/schedstat; }

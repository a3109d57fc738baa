#!/usr/bin/env bash
# What the guard adds to a whole open(2): cost.sh DIRECTORY-OF-PROGRAMS PROGRAM-OF-OPENS. Runs as root in a
# virtual machine whose clock counts instructions, one a nanosecond.
set -euo pipefail

hsci=$1/hsci
opens=$2
arena=/run/cost

measure() {
    printf '%-22s %8s %8s %8s\n' "$1" "$("$opens" $arena/free)" "$("$opens" $arena/a/b/c/d/e/f/free)" \
        "$("$opens" $arena/ruled/file)"
}

policy() {
    local rule
    echo "deny open \"$arena/ruled/**\" unless exe \"$opens\""
    for ((rule = 1; rule < $1; rule++)); do
        echo "deny open \"/nowhere/$rule/*/x$rule\""
    done
}

mountpoint -q /sys/fs/bpf || mount -t bpf none /sys/fs/bpf
mkdir -p $arena/ruled $arena/a/b/c/d/e/f
touch $arena/free $arena/a/b/c/d/e/f/free $arena/ruled/file
printf '%-22s %8s %8s %8s\n' "instructions" "no rule" "deep" "ruled"
measure "without a policy"
for rules in 1 1000 10000; do
    policy $rules > $arena/policy
    "$hsci" policy load $arena/policy > /dev/null
    measure "$rules rules"
done
"$hsci" policy unload
measure "without a policy again"

#!/usr/bin/env bash
# Attempts to get around a loaded policy, each with its outcome. Runs as root in a virtual machine:
# attempts.sh DIRECTORY-OF-PROGRAMS [quick] [LIST...], with the lists `ways`, `marks`, `rules`, `stores`, `hosts` and `case`. What is not
# prevented stands here as `gets`, and in docs/src/explanation/filters-in-the-kernel.md with the reason. Unless it is to be
# quick, each attempt runs once more without a policy, and must succeed: one that fails anyway would
# show nothing.
set -uo pipefail

programs=$1
shift
quick=
[ "${1-}" != quick ] || { quick=1 && shift; }
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
hsci=$programs/hsci
arena=/run/arena
passed=0
failed=0
# Set when there is no policy: then attempts must succeed.
control=
# What puts back in order what attempts may have changed, where no policy keeps them from it.
restore=true
# As whom the helper acts.
as=
helper_out=/run/helper.out

verdict() {
    if [ "$2" = 0 ]; then
        echo "test guard::$1${control:+, without a policy} ... ok"
        passed=$((passed + 1))
    else
        echo "test guard::$1${control:+, without a policy} ... FAILED: $3"
        failed=$((failed + 1))
    fi
}

# The command must not get at the secret: NAME COMMAND...
prevents() {
    local name=$1 out
    shift
    $restore
    out=$("$@" 2>&1 < /dev/null | tr -d '\0')
    if [ -n "$control" ]; then
        [[ $out == *secret* ]]
    else
        [[ $out != *secret* ]]
    fi
    verdict "$name" $? "got: $out"
}

# The command must fail: NAME COMMAND...
refuses() {
    local name=$1 out status
    shift
    $restore
    out=$("$@" 2>&1 < /dev/null)
    status=$?
    if [ -n "$control" ]; then
        verdict "$name" "$status" "failed without a policy: $out"
    else
        [ "$status" != 0 ]
        verdict "$name" $? "succeeded: $out"
    fi
}

# Starts the helper, and keeps its pipes where subshells have them, too.
start_helper() {
    coproc python3 -I -S "$here/helper.py" serve
    exec {to_helper}>&"${COPROC[1]}" {from_helper}<&"${COPROC[0]}"
}

# Has the helper do something, as the user in `as`: FUNCTION [ARGUMENT]
helper() {
    local code
    (IFS=$'\t' && echo "$helper_out	$as	$*") >&"$to_helper"
    read -r code <&"$from_helper" || return 99
    cat $helper_out
    return "$code"
}

# The helper must be refused, not fail otherwise: NAME FUNCTION [PATH]
python_refused() {
    local out code wanted=13
    [ -z "$control" ] || wanted=0
    $restore
    out=$(helper "${@:2}")
    code=$?
    [ "$code" = "$wanted" ]
    verdict "$1${as:+, $as}" $? "exit code $code: $out"
}

# The command must work: NAME COMMAND...
gets() {
    local name=$1 out
    shift
    out=$("$@" 2>&1 < /dev/null)
    verdict "$name" $? "$out"
}

# Ends the policy in force: no program of the guard answers any more once that is said. NAME
unloads() {
    gets "unload_$1" "$hsci" policy unload
    gets "no_programs_after_unload_$1" no_programs
}

no_programs() {
    local programs
    programs=$(bpftool prog list) || return 1
    [[ $programs != *" lsm "* ]] || { echo "$programs" | grep " lsm " && return 1; }
}

# The requests that the host of a mount has had, a line each: "KIND": COUNT,
requests() {
    # shellcheck disable=SC2154 # a mount of the lists
    "$hsci" status --json "$mnt" | sed -n '/^  "requests": {/,/^  }/s/^    //p'
}

# Makes a file system on a file and mounts it: DIRECTORY PROGRAM SIZE
image() {
    mkdir -p "$1"
    truncate -s "$3" "$1.image"
    "$2" -q "$1.image" > /dev/null
    modprobe -a loop "${2#*.}"
    mount -o loop "$1.image" "$1"
}

as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }
in_user_namespace() { as_user unshare -U -r -m -- "$@"; }

# shellcheck source=tests/vm/ways.sh
source "$here/ways.sh"
# shellcheck source=tests/vm/marks.sh
source "$here/marks.sh"
# shellcheck source=tests/vm/rules.sh
source "$here/rules.sh"
# shellcheck source=tests/vm/stores.sh
source "$here/stores.sh"
# shellcheck source=tests/vm/hosts.sh
source "$here/hosts.sh"
# shellcheck source=tests/vm/case.sh
source "$here/case.sh"

main() {
    local list
    mountpoint -q /sys/fs/bpf || mount -t bpf none /sys/fs/bpf
    chmod 755 /run
    mkdir -p $arena
    start_helper
    [ $# -gt 0 ] || set -- ways marks rules stores hosts case
    for list in "$@"; do
        control=
        "test_$list"
        echo "list $list: $SECONDS s since the beginning"
    done
    # As cargo's tests sum up.
    echo "test result: $([ "$failed" = 0 ] && echo ok. || echo FAILED.) $passed passed; $failed failed; 0 ignored"
    [ "$failed" = 0 ]
}

main "$@"

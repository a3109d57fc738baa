#!/usr/bin/env bash
# Installs a package in a fresh root, uses it, removes it: PACKAGE ROOT SUITE. In a mount namespace of its own.
set -euo pipefail

package=$1 root=$2 suite=$3
passed=0

finish() {
    # Its host ends with it.
    umount "$root/tmp/files" 2> /dev/null || true
    umount -l "$root/proc" "$root/dev" 2> /dev/null || true
    # Nothing of this machine may be reached through it any more.
    if ! grep -q " $root/" /proc/self/mountinfo; then
        rm -rf --one-file-system "$root"
    fi
}
trap finish EXIT

inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }

# Reports one test: a name, and a command inside of the root.
check() {
    local name=$1
    shift
    if "$@"; then
        echo "test package::$name ... ok"
        passed=$((passed + 1))
    else
        echo "test package::$name ... FAILED"
        echo "test result: FAILED. $passed passed; 1 failed; 0 ignored"
        exit 1
    fi
}

files() { (cd "$root" && find etc usr var run -not -path 'var/*' -not -path '*/ld.so.cache' | sort); }

is_refused() { ! "$@" > "$root/tmp/refused" 2>&1 && grep -q 'hsci status' "$root/tmp/refused"; }

debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" > "$root.log" 2>&1 \
    || { tail "$root.log" >&2; exit 1; }
rm -f "$root.log"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
files > "$root/tmp/before"
cp "$package" "$root/tmp/hsci.deb"

install_it() { inside apt-get -qq install --no-install-recommends -y /tmp/hsci.deb > /dev/null 2>&1; }
use_it() {
    inside sh -eu -c '
        mkdir /tmp/store /tmp/files
        mount -t fuse.hsci /tmp/store /tmp/files -o algorithm=zstd:9
        seq 100000 > /tmp/files/numbers
        seq 100000 | cmp - /tmp/files/numbers
        hsci settle /tmp/files
        hsci usage /tmp/files | grep -q zstd:9
        seq 100000 | cmp - /tmp/files/numbers'
}
has_all() {
    inside sh -eu -c '
        test -e /usr/share/man/man1/hsci-mount.1.gz -a -e /usr/share/man/man5/hsci-policy.5.gz
        test -e /usr/share/bash-completion/completions/hsci
        grep -q ^ExecStart=/usr/bin/hsci /usr/lib/systemd/system/hsci@.service'
}
purge_it() { inside apt-get -qq purge --autoremove -y hsci > /dev/null; }
is_as_before() { diff "$root/tmp/before" <(files) >&2; }

check installs_in_a_fresh_root install_it
check has_pages_units_and_completions has_all
check mounts_through_mount_8_and_compresses use_it
check is_not_removed_under_a_mount is_refused inside apt-get -qq remove -y hsci
check unmounts inside hsci unmount /tmp/files
check store_is_whole inside hsci check /tmp/store
check purges purge_it
check leaves_nothing_behind is_as_before
echo "test result: ok. $passed passed; 0 failed; 0 ignored"

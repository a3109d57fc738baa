#!/usr/bin/env bash
# Installs a package in a fresh root, uses it, makes an extension as the tutorial says, and removes it:
# PACKAGE ROOT SUITE PROJECT RUST REGISTRY. In a mount namespace of its own.
set -euo pipefail

package=$1 root=$2 suite=$3 project=$4 rust=$5 registry=$6
passed=0

finish() {
    # Its host ends with it.
    umount "$root/tmp/files" "$root/root/shout/files" 2> /dev/null || true
    umount "$root/root/.cargo/registry" "$root/opt/rust" "$root/root/hsci" 2> /dev/null || true
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

debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev "$suite" "$root" > "$root.log" 2>&1 \
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
# What the tutorial takes for granted: Rust, the sources, and the crates that these need, which this machine has.
lend_rust() {
    mkdir -p "$root"/opt/rust "$root"/root/{hsci,.cargo/registry} "$root"/tmp/registry/{new,work}
    mount --bind -o ro "$rust" "$root/opt/rust"
    mount --bind -o ro "$project" "$root/root/hsci"
    local below=lowerdir=$registry above=upperdir=$root/tmp/registry/new
    mount -t overlay -o "$below,$above,workdir=$root/tmp/registry/work" overlay "$root/root/.cargo/registry"
}
# Every command of the page, as it stands there; what a command prints is shown if one fails.
follow_tutorial() {
    {
        echo 'set -eu; cd'
        awk '/^```text$/ { on = 1; next } /^```/ { on = 0 } on
            on && /^hsci mount/ { print "echo mounted after $SECONDS s" }' "$project/docs/src/tutorial/extension.md"
    } > "$root/tmp/tutorial"
    grep -q '^hsci new' "$root/tmp/tutorial" && grep -q '^hsci unmount' "$root/tmp/tutorial" || return
    # With `set -e`, not below a condition: a shell ignores it there.
    inside HOME=/root CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never \
        PATH=/opt/rust/bin:/root/.cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash /tmp/tutorial > "$root/tmp/tutorial.log" 2>&1 || { tail -40 "$root/tmp/tutorial.log" >&2; return 1; }
    grep -m 1 '^mounted after' "$root/tmp/tutorial.log"
    # The store has the bytes inverted: what was written before the change, and after it.
    [ "$(od -An -tx1 "$root/root/shout/store/greeting" | tr -d ' ')" = 979a939390f59e989e9691f5 ]
}
purge_it() { inside apt-get -qq purge --autoremove -y hsci > /dev/null; }
is_as_before() { diff "$root/tmp/before" <(files) >&2; }

check installs_in_a_fresh_root install_it
check has_pages_units_and_completions has_all
check mounts_through_mount_8_and_compresses use_it
check is_not_removed_under_a_mount is_refused inside apt-get -qq remove -y hsci
check unmounts inside hsci unmount /tmp/files
check store_is_whole inside hsci check /tmp/store
lend_rust
check tutorial_leads_to_an_extension_of_ones_own follow_tutorial
check purges purge_it
check leaves_nothing_behind is_as_before
echo "test result: ok. $passed passed; 0 failed; 0 ignored"

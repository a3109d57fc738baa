#!/usr/bin/env bash
# The main job on real input: two users write one compressed mount with different algorithms. Run by
# ./run demo, as root.
set -euo pipefail

project=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../..
PATH=$PATH:/usr/sbin:/sbin
users=(daemon nobody)
algorithms=(zstd:12 lz4)

bold='' plain=''
[ ! -t 1 ] || bold=$'\e[1m' plain=$'\e[0m'
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# Runs a command after showing it.
show() {
    printf '$ %s\n' "$*"
    "$@"
}

# Runs a command as another user.
as() {
    local user=$1
    shift
    setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups -- "$@"
}

show_as() {
    printf '%s$ %s\n' "$1" "${*:2}"
    as "$@"
}

finish() {
    cd /
    if mountpoint -q "$base/files"; then
        hsci unmount "$base/files" || umount -l "$base/files"
    fi
    rm -rf "$base"
}

# Copies the largest real files of one kind below the input: KIND BYTES FIND-ARGUMENTS...
collect() {
    local kind=$1 bytes=$2 path
    shift 2
    mkdir -p "$base/input/$kind"
    { find "$@" -type f -readable -size +0 -size -20000k -printf '%s %p\n' 2> /dev/null || true; } \
        | sort -rn -u -k1,1 \
        | awk -v left="$bytes" '$1 <= left { left -= $1; sub(/^[0-9]+ /, ""); print }' \
        | while read -r path; do
            cp --preserve=mode,timestamps --no-clobber "$path" "$base/input/$kind/" || true
        done
    describe "$kind"
}

describe() {
    local dir=$base/input/$1 count size
    count=$(find "$dir" -type f | wc -l)
    size=$(du -sh --apparent-size "$dir" | cut -f1)
    printf '  %-10s %5d files %8s\n' "$1" "$count" "$size"
}

# A source tree with its history: a clone of this project, or a copy of what there is of it.
collect_source() {
    mkdir -p "$base/input"
    git -c safe.directory='*' clone --quiet --no-local "$project" "$base/input/source" 2> /dev/null \
        || cp -r "$project/framework" "$base/input/source"
    describe source
}

# The programs where all users can reach them, wherever the project lies.
install_programs() {
    install -D -t "$base/programs" "$project"/target/release/hsci{,-extension-compressfs}
    PATH=$base/programs:$PATH
}

collect_input() {
    local home=${SUDO_USER:+$(getent passwd "$SUDO_USER" | cut -d: -f6)}
    title 'Real input, found on this machine'
    collect_source
    collect libraries 40000000 /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu -name '*.so*'
    collect logs 20000000 /var/log /tmp -maxdepth 2 -name '*.log'
    collect json 10000000 "${home:-$HOME}/.cargo" /usr/lib /usr/share -name '*.json'
    collect media 10000000 /usr/share /usr/lib -regex '.*\.\(png\|jpg\|jpeg\|ogg\|mp4\|webp\|gz\)'
    chmod -R a+rX input
}

mount_it() {
    title 'One mount, two users, two algorithms'
    mkdir store files
    show hsci mount store files
    local index
    for index in 0 1; do
        install -d -o "${users[index]}" "files/${users[index]}"
        show_as "${users[index]}" hsci algorithm set "${algorithms[index]}" files
    done
}

write_it() {
    local user writers=()
    for user in "${users[@]}"; do
        show_as "$user" cp -r --preserve=mode,timestamps,links input/. "files/$user" &
        writers+=($!)
    done
    wait "${writers[@]}"
    show hsci settle files
}

compare() {
    local user
    for user in "${users[@]}"; do
        diff -r --no-dereference input "$1/$user"
        diff <(facts input) <(facts "$1/$user")
    done
    printf '  all %d files are equal in every byte, mode and time\n' \
        "$(($(find input -type f | wc -l) * ${#users[@]}))"
}

# What must be equal beside the content; times of directories are those of the copying.
facts() { (cd "$1" && find . -printf '%P %y %m %l ' \( -type f -printf '%s %T@' -o -true \) -printf '\n' | sort); }

show_sizes() {
    title 'What it takes'
    show hsci usage files
    show du -sh --apparent-size files
    show du -sh files store
}

read_without_mount() {
    title 'The store, read without a mount'
    show hsci unmount files
    show hsci check store
    show hsci export store exported
    compare exported
    local largest
    largest=$(find "$base/input/libraries" -type f -printf '%s %f\n' | sort -rn | head -1 | cut -d' ' -f2)
    printf '$ zstdcat store/%s/libraries/%s | cmp - input/libraries/%s\n' \
        "${users[0]}" "$largest" "$largest"
    zstdcat "store/${users[0]}/libraries/$largest" | cmp - "input/libraries/$largest"
    printf '  equal: sealed files are ordinary zstd files\n'
}

keep() {
    trap - EXIT
    title 'Still mounted'
    cat <<EOF
  play:  ls $base/files; hsci usage $base/files; hsci algorithm list $base/files
  end:   hsci unmount $base/files && rm -r $base
  where: PATH=$(dirname "$(command -v hsci)"):\$PATH
EOF
}

main() {
    base=$(mktemp -d "${TMPDIR:-/var/tmp}/hsci-demo.XXXXXX")
    trap finish EXIT
    chmod 755 "$base"
    cd "$base"
    install_programs
    collect_input
    mount_it
    write_it
    title 'Every byte compared with the originals'
    compare files
    show_sizes
    if [ "${1-}" = --keep ]; then
        keep
        return
    fi
    read_without_mount
    finish
    trap - EXIT
    title 'Done: nothing is left behind'
}

main "$@"

# shellcheck shell=bash
# Installs what is missing, after saying so. Sourced by ./run.

# What is needed, as PROGRAM:PACKAGE, or FILE:PACKAGE with a whole path.
build_needs=(cc:build-essential clang:clang /usr/include/bpf/bpf_helpers.h:libbpf-dev)
arm64_needs=(
    aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/include/stdio.h:libc6-dev-arm64-cross
    qemu-aarch64:qemu-user
)
demo_needs=(fusermount3:fuse3 git:git zstd:zstd setpriv:util-linux)
lint_needs=(shellcheck:shellcheck)
bench_needs=(
    mkfs.ext4:e2fsprogs mkfs.btrfs:btrfs-progs fusermount3:fuse3 tar:tar rsync:rsync git:git sqlite3:sqlite3
    pgbench:postgresql setpriv:util-linux bindfs:bindfs gocryptfs:gocryptfs squashfuse:squashfuse
    mksquashfs:squashfs-tools mkfs.erofs:erofs-utils dbench:dbench
)
test_needs=(
    "${lint_needs[@]}" mkfs.ext4:e2fsprogs mkfs.btrfs:btrfs-progs mkfs.xfs:xfsprogs mount:mount setfattr:attr setfacl:acl
    gzip:gzip lz4:lz4 man:man-db tar:tar rsync:rsync sqlite3:sqlite3 pg_ctl:postgresql ar:binutils
    bindfs:bindfs glusterd:glusterfs-server ip:iproute2 python3:python3
)
torture_needs=(debootstrap:debootstrap /usr/lib/python3/dist-packages/lmdb:python3-lmdb)
# Oldest Rust that builds the project.
rust_version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# Runs a command as root: as it is, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        fail "this needs root, and there is no sudo: run as root: $*"
    fi
}

has_program() {
    [[ $1 != /* ]] || { [ -e "$1" ] && return; }
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" > /dev/null && return
    compgen -G "/usr/lib/postgresql/*/bin/$1" > /dev/null
}

# Makes sure of programs, each given as PROGRAM:PACKAGE.
need_packages() {
    local need missing=()
    for need in "$@"; do
        has_program "${need%%:*}" || missing+=("${need##*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get > /dev/null || fail "install these, then try again: ${missing[*]}"
    say "installing by apt: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
        -y "${missing[@]}" > /dev/null
}

# True if cargo is there and new enough.
has_rust() {
    local found
    found=$(cargo --version 2> /dev/null | cut -d' ' -f2) || return
    [ -n "$found" ] && printf '%s\n%s\n' "$rust_version" "$found" | sort -CV
}

need_rust() {
    local rustup='curl --proto =https --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c rustfmt -c clippy'
    has_rust && return
    PATH=$HOME/.cargo/bin:$PATH
    has_rust && return
    say "installing Rust $rust_version or newer by rustup, into $HOME/.rustup and $HOME/.cargo"
    need_packages curl:curl
    bash -o pipefail -c "$rustup" >&2 || fail "Rust could not be installed; do it with: $rustup"
    has_rust || fail "cargo is older than $rust_version; update it with: rustup update stable"
}

# Installs a tool by cargo, into target/tools: PROGRAM VERSION OPTION...
need_tool() {
    local program=$1 version=$2
    [ ! -x "target/tools/bin/$program" ] || return 0
    say "installing by cargo, into target/tools: $program $version"
    cargo install --quiet "$program" --version "$version" --locked --root target/tools "${@:3}"
}

need_pjdfstest() { need_tool pjdfstest 0.2.2; }

need_mdbook() { need_tool mdbook 0.5.4 --no-default-features --features search; }

need_public_api() { need_tool cargo-public-api 0.52.0; }

need_deny() { need_tool cargo-deny 0.20.2; }

# shellcheck shell=bash
# Runs all tests and adds up their results. Sourced by ./run.

passed=0
failed=0
skipped=0
again=()

# The optimised build with its assertions kept.
build_checked() { cargo build --profile checked --locked --quiet --workspace; }

run_suite() { cargo test --profile checked --locked --quiet --workspace --test suite -- "$@"; }

run_unit_tests() {
    cargo test --profile checked --locked --quiet --workspace --exclude hsci-tests --no-fail-fast -- "$@"
}

run_shellcheck() {
    shellcheck -x -a run .ci/run tests/scripts/{below,demo,prometheus,try-package}.sh tests/vm/{attempts,cost}.sh packaging/debian/p*
}

run_clippy() { cargo clippy --profile checked --locked --quiet --workspace --all-targets -- -D warnings; }

# Licences and advisories; without cargo-deny, a test of the suite looks at the licences.
deny_everything() { cargo deny --offline check bans licenses sources; }

lint_everything() {
    cargo fmt --all --check
    run_clippy
    run_shellcheck
    ! has_program cargo-deny || deny_everything
}

# Figures for whoever reads the log; what could run and did not fails.
bench_quickly() {
    build_checked
    as_root env "PATH=$PATH" target/checked/side-by-side --hsci target/checked/hsci --quick
}

# Runs one thing that either works or does not, as a test of the given name.
check() {
    local name=$1
    shift
    if "$@"; then
        echo "test $name ... ok"
        passed=$((passed + 1))
    else
        echo "test $name ... FAILED"
        failed=$((failed + 1))
    fi
}

# Runs tests that report as cargo's do, and adds their counts. What fails is run once more when all others have
# ended; what passes then counts as passed, and is named in the last line: a fault to look for all the same.
count() {
    local log status=0 p f s names
    log=$(mktemp)
    "$@" 2>&1 | tee "$log" || status=$?
    read -r p f s <<< "$(sum_of "$log")"
    mapfile -t names < <(failures_in "$log")
    if [ "$f" != 0 ] && [ "$f" = ${#names[@]} ]; then
        echo "once more: ${names[*]}"
        if "$@" "${names[@]}"; then
            again+=("${names[@]}")
            p=$((p + f)) f=0 status=0
        fi
    fi
    rm -f "$log"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    # What ends badly without a failed test did not even start, or died.
    if [ "$status" != 0 ] && [ "$f" = 0 ]; then
        failed=$((failed + 1))
        echo "FAILED: $*"
    fi
}

sum_of() { awk '/^test result: / { p += $4; f += $6; s += $8 } END { print p+0, f+0, s+0 }' "$1"; }

# The names that stand below `failures:`.
failures_in() {
    awk '/^failures:$/ { on = 1; next } on && /^    [a-z0-9_:]+$/ { print $1; next } /./ { on = 0 }' "$1" | sort -u
}

# A system of Debian's in a mount, on each file system below; the packages come over the network, once.
test_debian() {
    local work kind said
    work=$(mktemp -d -p "$project/target" debian.XXXXXX)
    as_root debootstrap --variant=minbase --include=iputils-ping,libcap2-bin --make-tarball="$work/debs.tgz" bookworm "$work/made" \
        > "$work/debootstrap.log" 2>&1 || fail "debootstrap: $(tail -1 "$work/debootstrap.log")"
    for kind in ext4 xfs btrfs tmpfs overlay glusterfs; do
        mkdir "$work/$kind"
        ln "$work/debs.tgz" "$work/$kind/"
        said=$(as_root unshare -mnpf --mount-proc --kill-child --propagation private \
            bash tests/scripts/below.sh debian "$project/target/checked/hsci" "$work/$kind" "$kind" 2>&1) || fail "$kind: $said"
        say "$said"
        as_root rm -rf "${work:?}/$kind"
    done
    as_root rm -rf "$work"
}

# Ours, and what a test has mounted.
mounts() { awk '/ - fuse.hsci |\/hsci-/ { print $5 }' /proc/self/mountinfo | sort; }

no_mount_is_left() {
    local left
    left=$(comm -13 <(printf '%s\n' "$1") <(mounts))
    [ -z "$left" ] || echo "still mounted: $left"
    [ -z "$left" ]
}

# What is given is run as well, and counted.
test_everything() {
    local before
    before=$(mounts)
    build_checked
    check lint::rustfmt cargo fmt --all --check
    check lint::clippy run_clippy
    check lint::shellcheck run_shellcheck
    ! has_program cargo-deny || check lint::cargo_deny deny_everything
    count run_unit_tests
    count run_suite
    [ $# = 0 ] || { count "$@" && check bench::runs bench_quickly; }
    check mounts::none_is_left_behind no_mount_is_left "$before"
    [ ${#again[@]} = 0 ] || echo "passed only when run once more: ${again[*]}"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}

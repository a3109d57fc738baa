# shellcheck shell=bash
# Packages every crate that is published, builds the command of the unpacked crates without clang, and tests an
# extension that it makes. Sourced by ./run.

published=(
    hsci-extension hsci-protocol hsci-abi hsci-engine hsci-language hsci-kernel hsci-host
    hsci-command hsci-compressfs hsci-compressfs-commands hsci-nullfs hsci-xor hsci
)
crates=$project/target/crates

# Unpacks the crates below target/crates/src.
unpack_crates() {
    local crate packages=()
    for crate in "${published[@]}"; do packages+=(-p "$crate"); done
    rm -rf "$crates/src"
    mkdir -p "$crates/src"
    cargo package --quiet --no-verify --allow-dirty "${packages[@]}" --target-dir "$crates"
    for crate in "${published[@]}"; do
        # Packages have one time for all files, by which cargo would take those of another run for these.
        tar -xmf "$crates/package/$crate-$(package_version).crate" -C "$crates/src"
        mv "$crates/src/$crate-$(package_version)" "$crates/src/$crate"
    done
}

# The lines by which a crate elsewhere is built with the unpacked crates in place of the registry's.
crates_patch() {
    local crate
    echo '[patch.crates-io]'
    for crate in "${published[@]}"; do
        echo "$crate = { path = \"$crates/src/$crate\" }"
    done
}

# A directory with a clang that only fails: what needs one is found out.
without_clang() {
    mkdir -p "$crates/no-clang"
    printf '#!/bin/sh\necho "clang is not to be needed" >&2\nexit 1\n' > "$crates/no-clang/clang"
    chmod +x "$crates/no-clang/clang"
}

# Cargo in a directory with the project's versions of all other crates, and without clang.
cargo_in() {
    local dir=$1
    shift
    cp "$project/Cargo.lock" "$dir/"
    (
        unset HSCI_CLANG HSCI_OBJECTS
        cd "$dir" && PATH=$crates/no-clang:$PATH cargo "$@" --offline --target-dir "$crates/build"
    )
}

# An extension as `hsci new` makes it, its tests on a real mount included.
test_new() {
    local name=$1
    shift
    # What an earlier run has built stands beside the command, as if it were installed.
    rm -rf "${crates:?}/$name" "$crates/build/debug/hsci-extension-$name"
    "$crates/build/debug/hsci" new "$name" --dir "$crates/$name" "$@"
    crates_patch >> "$crates/$name/Cargo.toml"
    PATH=$crates/build/debug:$PATH cargo_in "$crates/$name" test --quiet
}

test_crates() {
    unpack_crates
    without_clang
    crates_patch >> "$crates/src/hsci/Cargo.toml"
    check crates::the_command_builds_without_clang cargo_in "$crates/src/hsci" build --quiet --bins
    [ "$failed" = 0 ] || return
    check crates::a_new_content_extension_passes_its_tests test_new shout --bundle compressfs
    check crates::a_new_layer_extension_passes_its_tests test_new keep --kind layer
    check crates::a_new_view_passes_its_tests test_new lines --kind view
    check crates::a_new_tree_passes_its_tests test_new about --kind tree
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}

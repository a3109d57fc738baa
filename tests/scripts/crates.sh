# shellcheck shell=bash
# Packages every crate that is published, and builds the command of the unpacked crates without clang.
# Sourced by ./run.

published=(
    hsci-extension hsci-protocol hsci-abi hsci-engine hsci-language hsci-kernel hsci-host
    hsci-compressfs hsci-nullfs hsci-xor hsci
)

# Unpacks the crates below target/crates/src.
unpack_crates() {
    local crate packages=()
    for crate in "${published[@]}"; do packages+=(-p "$crate"); done
    rm -rf target/crates/src
    mkdir -p target/crates/src
    cargo package --quiet --no-verify --allow-dirty "${packages[@]}" --target-dir target/crates
    for crate in "${published[@]}"; do
        tar -xf "target/crates/package/$crate-$(package_version).crate" -C target/crates/src
        mv "target/crates/src/$crate-$(package_version)" "target/crates/src/$crate"
    done
}

# The lines by which a crate elsewhere is built with the unpacked crates in place of the registry's.
crates_patch() {
    local crate
    echo '[patch.crates-io]'
    for crate in "${published[@]}"; do
        echo "$crate = { path = \"$project/target/crates/src/$crate\" }"
    done
}

# A build in which no program is called clang.
test_crates() {
    unpack_crates
    (
        cd target/crates/src/hsci
        crates_patch >> Cargo.toml
        cp "$project/Cargo.lock" .
        HSCI_CLANG='' CLANG_PATH='' cargo build --offline --target-dir "${CARGO_TARGET_DIR:-$project/target/crates}"
    )
}

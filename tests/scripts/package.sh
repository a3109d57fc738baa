# shellcheck shell=bash
# Makes a Debian package, and tries it in a fresh root. Sourced by ./run.

package_needs=(dpkg-shlibdeps:dpkg-dev dpkg-deb:dpkg gzip:gzip)
package_test_needs=(debootstrap:debootstrap unshare:util-linux)
# The oldest Debian that has all that the package depends on.
package_suite=bookworm
shipped=(hsci hsci-extension-compressfs hsci-extension-nullfs)

package_version() { sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1; }

# Makes target/package/hsci_VERSION_ARCH.deb of the programs in a directory, and prints its path.
make_package() {
    local programs=$1 root=target/package/root out
    out=target/package/hsci_$(package_version)_$(dpkg --print-architecture).deb
    rm -rf target/package
    lay_out_package "$programs" "$root"
    SOURCE_DATE_EPOCH=$(package_date) dpkg-deb --root-owner-group --build "$root" "$out" > /dev/null
    echo "$out"
}

# The time of the sources: two builds of one commit are one package.
package_date() { git log -1 --format=%ct 2> /dev/null || date +%s; }

lay_out_package() {
    local programs=$1 root=$2 program
    mkdir -p "$root"/{DEBIAN,etc/hsci,usr/bin,usr/sbin,usr/lib/systemd/system,usr/share/doc/hsci}
    chmod 755 "$root"
    for program in "${shipped[@]}"; do
        install -s -m 755 "$programs/$program" "$root/usr/bin/"
    done
    ln -s ../bin/hsci "$root/usr/sbin/mount.fuse.hsci"
    "$programs/hsci" generate --program /usr/bin/hsci "$root/usr/share"
    mv "$root"/usr/share/hsci/*.service "$root/usr/lib/systemd/system/"
    rmdir "$root/usr/share/hsci"
    find "$root/usr/share/man" -type f -exec gzip -9n {} +
    gzip -9nc CHANGELOG.md > "$root/usr/share/doc/hsci/changelog.gz"
    install -m 644 README.md packaging/debian/copyright "$root/usr/share/doc/hsci/"
    install -m 755 packaging/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
    package_control "$root" > "$root/DEBIAN/control"
    find "$root" -type d -exec chmod 755 {} +
}

package_control() {
    local root=$1 libraries
    libraries=$(shared_libraries "$root")
    cat << EOF
Package: hsci
Version: $(package_version)
Architecture: $(dpkg --print-architecture)
Maintainer: The HSCI authors <hsci@example.org>
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $libraries
Recommends: fuse3
Section: utils
Priority: optional
Description: extend a file system without touching the kernel
 Mounts a directory through extensions at user level. The extension that comes
 with it, compressfs, stores files compressed, each user with an algorithm of
 their own. Policies decide who gets what, and which calls are refused.
EOF
}

# What the programs need of other packages, by the tool that Debian's own packages use.
shared_libraries() {
    local root work
    root=$(readlink -f "$1")
    work=$(mktemp -d)
    mkdir "$work/debian"
    printf 'Source: hsci\n\nPackage: hsci\nArchitecture: any\n' > "$work/debian/control"
    (cd "$work" && dpkg-shlibdeps -O "$root"/usr/bin/* 2> /dev/null) | sed -n 's/^shlibs:Depends=//p'
    rm -rf "$work"
}

# Runs tests/scripts/try-package.sh with a package in a root made by debootstrap, which borrows this machine's Rust and
# the crates that it has already.
test_package() {
    local package=$1 root
    need_packages "${package_test_needs[@]}"
    root=$(mktemp -d /var/tmp/hsci-package.XXXXXX)
    # The root has no mounts that this machine sees, so nothing can be left mounted.
    as_root unshare --mount --propagation private \
        "$project/tests/scripts/try-package.sh" "$package" "$root" "$package_suite" "$project" \
        "$(rustc --print sysroot)" "${CARGO_HOME:-$HOME/.cargo}/registry"
}

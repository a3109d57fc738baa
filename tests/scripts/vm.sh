# shellcheck shell=bash
# Runs the guard's tests in a virtual machine: a kernel with BPF LSM, this machine's own root
# read-only, no KVM. Sourced by ./run.

vm_needs=(
    qemu-system-x86_64:qemu-system-x86 busybox:busybox-static bpftool:bpftool setfattr:attr
    setpriv:util-linux fusermount3:fuse3 setfacl:acl mkfs.ext4:e2fsprogs mkfs.btrfs:btrfs-progs
)
# The kernel, as the pattern of its image and its package.
vm_kernel=/boot/vmlinuz-6.12
vm_package=linux-image-6.12-amd64
vm_tool=1.40
vm_options=(--cpus 2)

need_vm() {
    need_packages "${build_needs[@]}" "${vm_needs[@]}" python3:python3
    if ! compgen -G "$vm_kernel*" > /dev/null; then
        say "installing by apt: $vm_package"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
            -y "$vm_package" > /dev/null
    fi
    if [ ! -x target/tools/vm/bin/vng ]; then
        need_packages python3-venv:python3-venv
        say "installing by pip, into target/tools/vm: virtme-ng"
        python3 -m venv target/tools/vm
        target/tools/vm/bin/pip install --quiet "virtme-ng>=$vm_tool"
    fi
}

# Runs a command in the machine, which has the programs below /run/programs; what it prints comes at the end, from a file.
in_vm() {
    local out image status
    out=$(mktemp -d /var/tmp/hsci-vm.XXXXXX)
    image=$(compgen -G "$vm_kernel*" | sort -V | tail -1)
    # The tool's own root is read again from the host with each use; it is read-only, so what was read stays.
    sed -i 's/,access=any,msize=\([0-9]*\) \/dev\/root/,access=any,cache=loose,msize=\1 \/dev\/root/' \
        target/tools/vm/lib/python3*/site-packages/virtme/mkinitramfs.py || say "the machine's root is read anew each time"
    # The console is slow and cut short when the machine stops. The tool starts others by their names.
    PATH=$project/target/tools/vm/bin:$PATH timeout 2400 vng --disable-kvm -r "$image" "${vm_options[@]}" --memory 2G --user root \
        --rodir="$programs" --rodir="$project" --rwdir="$out" \
        --exec "cp -r $programs /run/programs; $* > $out/log 2>&1; echo \$? > $out/status" < /dev/null > "$out/console" 2>&1 || true
    cat "$out/log" || cat "$out/console"
    status=$(cat "$out/status" || echo 1)
    rm -rf "$out"
    return "$status"
}

# What the machine reads through the host costs it much: only the programs that the lists use go there, stripped.
build_for_vm() {
    local built=${CARGO_TARGET_DIR:-$project/target}/checked program
    need_rust
    build_checked
    programs=$built/vm
    rm -rf "$programs"
    mkdir "$programs"
    for program in hsci hsci-extension-nullfs; do
        objcopy --strip-all "$built/$program" "$programs/$program"
    done
    clang -O2 -Wall -Wextra -o "$programs/forged" tests/vm/forged.c
}

test_vm() {
    local programs
    need_vm
    build_for_vm
    in_vm "bash $project/tests/vm/attempts.sh /run/programs $*"
}

# As a part of all tests. A process of its own, so that the first step that fails ends it.
test_vm_if_possible() {
    if timeout 900 "$project/run" setup-vm; then
        test_vm quick
    else
        echo "test guard ... not run: a virtual machine cannot be set up"
        echo "test result: none. 0 passed; 0 failed; 1 ignored"
    fi
}

# What the guard adds to open(2), in instructions: the machine's clock counts them.
bench_vm() {
    local programs vm_options=(--cpus 1 --qemu-opts="-icount shift=0,sleep=off")
    need_vm
    build_for_vm
    clang -O2 -o "$programs/opens" tests/vm/opens.c
    in_vm "bash $project/tests/vm/cost.sh /run/programs /run/programs/opens"
}

#!/usr/bin/env bash
# Attempts to get around a loaded policy, each with its outcome. Runs as root in a virtual machine:
# attempts.sh DIRECTORY-OF-PROGRAMS. What is not prevented stands here as `gets`, and in
# docs/filters-in-the-kernel.md with the reason. At the end, each attempt runs once more without a
# policy, and must succeed: one that fails anyway would show nothing.
set -uo pipefail

programs=$1
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
hsci=$programs/hsci
arena=/run/arena
vault=$arena/vault
passed=0
failed=0
# Set when there is no policy: then attempts must succeed.
control=

# What attempts may have changed, where no policy keeps them from it.
restore() {
    [ -n "$control" ] || return 0
    [ ! -d $arena/moved ] || rm -rf $arena/moved
    rm -rf $arena/taken $vault/new $vault/dir $vault/symlink $vault/fifo $vault/null $arena/open/y \
        $vault/a.new
    mkdir -p $vault/sub $arena/parent/inner
    echo secret-a > $vault/a
    echo secret-b > $vault/sub/b
    echo secret-c > $arena/parent/inner/c
    echo public > $arena/other
    [ -e $vault/program ] || cp /bin/true $vault/program
    [ -e "$vault/$(printf 'd%.0s' {1..50})" ] || python3 "$here/helper.py" dig $vault
}

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
    restore
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
    restore
    out=$("$@" 2>&1 < /dev/null)
    status=$?
    if [ -n "$control" ]; then
        verdict "$name" "$status" "failed without a policy: $out"
    else
        [ "$status" != 0 ]
        verdict "$name" $? "succeeded: $out"
    fi
}

# The helper must be refused, not fail otherwise: NAME FUNCTION [PATH]
python_refused() {
    local out code wanted=13
    [ -z "$control" ] || wanted=0
    restore
    out=$(python3 "$here/helper.py" "$2" "${3-$vault/a}" 2>&1 < /dev/null)
    code=$?
    [ "$code" = "$wanted" ]
    verdict "$1" $? "exit code $code: $out"
}

# The command must work: NAME COMMAND...
gets() {
    local name=$1 out
    shift
    out=$("$@" 2>&1 < /dev/null)
    verdict "$name" $? "$out"
}

as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }
in_user_namespace() { as_user unshare -U -r -m -- "$@"; }

prepare() {
    mountpoint -q /sys/fs/bpf || mount -t bpf none /sys/fs/bpf
    mkdir -p "$vault/sub" $arena/open $arena/seen "$arena/parent/inner"
    chmod 755 /run $arena
    chmod 777 "$vault" "$vault/sub" $arena/open $arena/parent "$arena/parent/inner"
    echo secret-a > "$vault/a"
    echo secret-b > "$vault/sub/b"
    echo secret-c > "$arena/parent/inner/c"
    echo public > $arena/other
    echo secret-key > $arena/open/x.key
    cp "$(readlink -f "$(command -v cat)")" $arena/trusted-cat
    cp "$(readlink -f "$(command -v python3)")" $arena/trusted
    cp /bin/true "$vault/program"
    ln -s "$vault/a" $arena/link
    ln -s "$vault" $arena/link-to-vault
    python3 "$here/helper.py" dig "$vault"
    ln "$vault/a" $arena/earlier-link
    exec 7< "$vault/a"
    cat > $arena/p.policy <<EOF
deny * "$vault/**" unless exe {"$arena/[t]rusted-cat", "$arena/[t]rusted"}
deny open "$arena/parent/inner/**"
deny read-data "$arena/**/*.key"
deny(ENOENT) getattr "$arena/seen/*"
deny write-data, truncate, chmod, chown, utimens, setxattr "$arena/other"
audit open "$arena/other"
EOF
    touch $arena/seen/x
}

read_attempts() {
    prevents plain_open cat "$vault/a"
    prevents open_in_a_subdirectory cat "$vault/sub/b"
    prevents open_as_user as_user cat "$vault/a"
    prevents open_in_a_user_namespace in_user_namespace cat "$vault/a"
    prevents symbolic_link cat $arena/link
    prevents symbolic_link_to_a_directory cat $arena/link-to-vault/sub/b
    prevents dots_in_the_path cat "$vault/sub/../a"
    prevents doubled_slashes cat "/run//arena///vault/a"
    prevents through_proc_root cat "/proc/self/root$vault/a"
    prevents through_proc_cwd bash -c "cd '$vault' && cat /proc/self/cwd/a"
    prevents other_shell_redirection bash -c "read -r x < '$vault/a'; echo \$x"
    prevents grep_recursively grep -r secret "$vault"
    prevents tar tar -cO "$vault/a"
    prevents copy bash -c "cp $vault/a $arena/taken; cat $arena/taken"
    prevents copy_with_reflink bash -c "cp --reflink=auto $vault/a $arena/taken; cat $arena/taken"
    prevents dd_direct dd if="$vault/a" iflag=direct status=none
    python_refused relative_to_a_directory relative
    python_refused through_o_path o_path
    python_refused openat2 openat2
    # Not `a`: it has a second name, from before the policy.
    python_refused by_file_handle by_handle "$vault/sub/b"
    python_refused after_chroot chroot
    python_refused mapped mapped
    python_refused sendfile sendfile
    python_refused splice splice
    python_refused path_of_4095_bytes long_path
    python_refused below_300_directories deep "$vault"
    python_refused execveat execveat "$vault/program"
    python_refused other_thread other_thread
    python_refused command_name_of_another renamed_process
    python_refused symbolic_link_swapped_in_a_race race
    python_refused removed_while_open unlinked
    python_refused passed_descriptor passed
    refuses exec "$vault/program"
    refuses exec_through_the_loader /lib64/ld-linux-x86-64.so.2 "$vault/program"
    prevents by_ending cat $arena/open/x.key
    prevents link_of_an_ending bash -c "ln $arena/open/x.key $arena/open/y; cat $arena/open/y"
    refuses hidden_attributes stat $arena/seen/x
}

mount_attempts() {
    mkdir -p $arena/bind
    mount --bind "$vault" $arena/bind
    prevents bind_mount cat $arena/bind/a
    mount --make-private $arena/bind
    prevents bind_mount_below cat $arena/bind/sub/b
    umount $arena/bind
    touch $arena/file
    mount --bind "$vault/a" $arena/file
    prevents bind_mount_of_a_file cat $arena/file
    umount $arena/file
    prevents private_mount_namespace unshare -m cat "$vault/a"
    prevents bind_in_a_private_namespace unshare -m bash -c "mount --bind $vault /mnt && cat /mnt/a"
    prevents pivoted_away unshare -m bash -c "mount --rbind /run /mnt && cat /mnt/arena/vault/a"
    prevents bind_in_a_user_namespace in_user_namespace bash -c "mount --rbind $vault /mnt; cat /mnt/a"
    prevents moved_mount unshare -m bash -c \
        "mount --make-rprivate /; mount --bind $vault /mnt; mkdir -p /run/m; mount --move /mnt /run/m; cat /run/m/a"
    prevents overlay unshare -m bash -c \
        "mkdir -p /run/u /run/w; mount -t overlay o -o lowerdir=$vault,upperdir=/run/u,workdir=/run/w /mnt && cat /mnt/a"
}

change_attempts() {
    refuses hard_link ln "$vault/a" $arena/taken
    refuses hard_link_inwards ln $arena/other "$vault/new"
    refuses rename_out python3 "$here/helper.py" rename "$vault/a:$arena/taken"
    refuses rename_of_the_vault python3 "$here/helper.py" rename "$vault:$arena/moved"
    refuses rename_of_an_unruled_parent python3 "$here/helper.py" rename "$arena/parent:$arena/moved"
    prevents content_after_rename_of_the_parent bash -c \
        "mv $arena/parent $arena/moved; cat $arena/parent/inner/c $arena/moved/inner/c"
    python_refused exchange exchange
    python_refused write write_open
    python_refused truncate truncate
    python_refused link_of_a_temporary_file tmpfile
    refuses create touch "$vault/new"
    refuses create_directory mkdir "$vault/dir"
    refuses create_symbolic_link ln -s x "$vault/symlink"
    refuses create_fifo mkfifo "$vault/fifo"
    refuses create_device mknod "$vault/null" c 1 3
    refuses remove rm -f "$vault/a"
    refuses remove_directory bash -c "mkdir -p '$vault/dir'; rmdir '$vault/dir'"
    refuses change_mode chmod 600 "$vault/a"
    refuses change_owner chown 1 "$vault/a"
    refuses change_times touch -d 2001-01-01 "$vault/a"
    refuses set_attribute setfattr -n trusted.x -v 1 "$vault/a"
    refuses read_attributes getfattr -d -m - "$vault/a"
    refuses overwrite_by_redirection bash -c "echo x > $arena/other"
    refuses list ls "$vault"
}

attacks_on_the_guard() {
    refuses remove_a_pin rm /sys/fs/bpf/hsci/guard/link-file_open
    refuses remove_all_pins rm -rf /sys/fs/bpf/hsci/guard
    refuses rename_the_pins mv /sys/fs/bpf/hsci/guard /sys/fs/bpf/hsci/other
    refuses unmount_the_pins umount /sys/fs/bpf
    refuses unmount_the_pins_lazily umount -l /sys/fs/bpf
    prevents cover_the_pins bash -c \
        "mount -t tmpfs none /sys/fs/bpf; cat $vault/a; umount /sys/fs/bpf"
    if command -v bpftool > /dev/null; then
        refuses update_a_map bpftool map update name GUARD key 0 0 0 0 value 1 0 0 0
        refuses dump_a_map bpftool map dump name SEALS
        refuses detach_a_link bash -c "bpftool link detach pinned /sys/fs/bpf/hsci/guard/link-file_open"
    fi
    prevents after_all_attacks cat "$vault/a"
}

# What is not prevented, or must work.
allowed() {
    gets the_trusted_program $arena/trusted-cat "$vault/a"
    gets other_files cat $arena/other
    gets audit_is_seen bash -c "'$hsci' trace --timeout 1 | grep -q audited.*other"
    # A right is judged when it is acquired.
    gets descriptor_from_before_the_policy cat <&7
    # The kernel does not tell which other names an inode has.
    gets hard_link_from_before_the_policy cat $arena/earlier-link
    gets policy_swap "$hsci" policy load $arena/p.policy
    prevents after_the_swap cat "$vault/a"
    refuses a_policy_with_errors_changes_nothing bash -c "echo nonsense > $arena/bad; '$hsci' policy load $arena/bad"
    prevents after_the_error cat "$vault/a"
    gets permissive "$hsci" policy load --permissive $arena/p.policy
    gets permissive_lets_pass cat "$vault/a"
    gets list "$hsci" policy list
    gets unload "$hsci" policy unload
    gets after_unloading cat "$vault/a"
    refuses nothing_to_unload "$hsci" policy unload
}

main() {
    prepare
    "$hsci" policy load $arena/p.policy || exit 1
    read_attempts
    mount_attempts
    change_attempts
    attacks_on_the_guard
    allowed
    control=1
    read_attempts
    mount_attempts
    change_attempts
    echo "$passed passed, $failed failed, 0 skipped"
    [ "$failed" = 0 ]
}

main

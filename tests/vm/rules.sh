# shellcheck shell=bash
# Attempts to get around the rules of a policy. Sourced by attempts.sh.

vault=$arena/vault

restore_vault() {
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
    [ -e "$vault/$(printf 'd%.0s' {1..50})" ] || helper dig $vault
}

prepare_vault() {
    mkdir -p "$vault/sub" $arena/open $arena/seen "$arena/parent/inner"
    chmod 755 $arena
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
    helper dig "$vault"
    ln "$vault/a" $arena/earlier-link
    exec 7< "$vault/a"
    for disk in ext4 btrfs; do
        image "$arena/$disk" "mkfs.$disk" 120M
        mkdir "$arena/$disk/vault"
        echo secret-disk > "$arena/$disk/vault/a"
    done
    sync
    cat > $arena/p.policy <<EOF
deny * "$vault/**", "$arena/{ext4,btrfs}/vault/**" unless exe {"$arena/[t]rusted-cat", "$arena/[t]rusted"}
deny open "$arena/parent/inner/**"
deny read-data "$arena/**/*.key"
deny(ENOENT) getattr "$arena/seen/*"
deny write-data, truncate, chmod, chown, utimens, setxattr "$arena/other"
audit open "$arena/other"
deny read-data "$arena/timed" when since 2020-01-01 and time 00:00-24:00 and day {mon, tue, wed, thu, fri, sat, sun}
deny read-data "$arena/expired" when until 2020-01-01
deny read-data "$arena/{shared,own}" when mode other-writable
deny read-data "$arena/kin" unless ancestor "$arena/[a]ncestor"
deny read-data "$arena/capable" unless capability dac_override
deny read-data "$arena/machine" unless userns host
deny read-data "$arena/login" when login none
EOF
    cp "$(readlink -f "$(command -v bash)")" $arena/ancestor
    for name in timed expired shared own kin capable machine login; do
        echo "secret-$name" > "$arena/$name"
    done
    chmod 666 $arena/shared
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
    prevents rule_of_a_time cat $arena/timed
    prevents rule_of_a_permission cat $arena/shared
    prevents rule_of_an_ancestor bash -c "cat $arena/kin; true"
    prevents an_ancestor_of_another_namespace unshare -m bash -c \
        "mount --bind /bin/bash $arena/ancestor && $arena/ancestor -c 'cat $arena/kin; true'"
    prevents a_daemon_of_the_ancestor $arena/ancestor -c \
        "(setsid -f bash -c 'sleep 0.5; cat $arena/kin > $arena/open/kin'); sleep 2; cat $arena/open/kin; rm -f $arena/open/kin"
    prevents capability_of_nobody as_user cat $arena/capable
    prevents capability_in_a_namespace unshare -U -r cat $arena/capable
    prevents rule_of_a_user_namespace unshare -U -r cat $arena/machine
    prevents a_user_namespace_of_a_user in_user_namespace cat $arena/machine
    prevents rule_of_a_login cat $arena/login
    prevents dd_direct dd if="$vault/a" iflag=direct status=none
    python_refused relative_to_a_directory relative "$vault/a"
    python_refused through_o_path o_path "$vault/a"
    python_refused openat2 openat2 "$vault/a"
    # Not `a`: it has a second name, from before the policy.
    python_refused by_file_handle by_handle "$vault/sub/b"
    python_refused after_chroot chroot "$vault/a"
    python_refused mapped mapped "$vault/a"
    python_refused sendfile sendfile "$vault/a"
    python_refused splice splice "$vault/a"
    python_refused path_of_4095_bytes long_path "$vault/a"
    python_refused below_2000_directories deep "$vault"
    python_refused execveat execveat "$vault/program"
    python_refused other_thread other_thread "$vault/a"
    python_refused command_name_of_another renamed_process "$vault/a"
    python_refused symbolic_link_swapped_in_a_race race "$vault/a"
    python_refused removed_while_open unlinked "$vault/a"
    python_refused passed_descriptor passed "$vault/a"
    python_refused by_file_handle_after_eviction by_handle "$arena/ext4/vault/a"
    python_refused descriptor_taken_from_who_may taken_descriptor "$vault/a"
    python_refused file_behind_a_mapping mapped_file "$vault/a"
    python_refused unlinked_file_behind_a_mapping mapped_unlinked_file "$vault/mapped"
    python_refused inode_number_used_again number_used_again "$arena/ext4/free:$arena/ext4/vault/again"
    python_refused shared_blocks clone "$arena/btrfs/vault/a:$arena/btrfs/copy"
    for as in "" as_user in_user_namespace; do
        python_refused io_uring uring_open "$vault/sub/b"
        python_refused path_changed_in_a_race changed_argument "$vault/sub/b"
    done
    as=
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
    refuses rename_out helper rename "$vault/a:$arena/taken"
    refuses rename_of_the_vault helper rename "$vault:$arena/moved"
    refuses rename_of_an_unruled_parent helper rename "$arena/parent:$arena/moved"
    prevents content_after_rename_of_the_parent bash -c \
        "mv $arena/parent $arena/moved; cat $arena/parent/inner/c $arena/moved/inner/c"
    python_refused rename_by_io_uring uring_rename "$vault/sub/b:$arena/taken"
    python_refused link_by_io_uring uring_link "$vault/sub/b:$arena/taken"
    python_refused exchange exchange "$vault/a"
    python_refused write write_open "$vault/a"
    python_refused truncate truncate "$vault/a"
    python_refused link_of_a_temporary_file tmpfile "$vault/a"
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
        refuses dump_a_map bpftool map dump name FENCES
        refuses detach_a_link bash -c "bpftool link detach pinned /sys/fs/bpf/hsci/guard/link-file_open"
    fi
    cp "$hsci" $arena/copy
    refuses unload_by_a_copy_of_the_command $arena/copy policy unload
    refuses unload_by_a_user as_user "$hsci" policy unload
    prevents after_all_attacks cat "$vault/a"
}

# What is not prevented, or must work.
allowed() {
    gets rule_that_has_expired cat $arena/expired
    gets permission_that_is_not_there cat $arena/own
    gets an_ancestor $arena/ancestor -c "cat $arena/kin && true"
    gets an_ancestor_further_up $arena/ancestor -c "bash -c 'cat $arena/kin && true' && true"
    gets a_capability cat $arena/capable
    gets the_user_namespace_of_the_machine as_user cat $arena/machine
    gets a_login bash -c "echo 1000 > /proc/self/loginuid && exec cat $arena/login"
    gets the_trusted_program $arena/trusted-cat "$vault/a"
    gets other_files cat $arena/other
    gets block_device grep -q secret-disk "$(findmnt -no SOURCE $arena/ext4)"
    gets what_does_not_fit_is_counted bash -c "'$hsci' policy list | grep ' undecidable' | grep -qv ' 0 undecidable'"
    gets audit_is_seen bash -c "'$hsci' trace --timeout 1 | grep -q audited.*other"
    # A right is judged when it is acquired.
    gets descriptor_from_before_the_policy cat <&7
    # The kernel does not tell which other names an inode has.
    gets hard_link_from_before_the_policy cat $arena/earlier-link
    gets policy_swap "$hsci" policy load $arena/p.policy
    prevents after_the_swap cat "$vault/a"
    refuses a_policy_with_errors_changes_nothing bash -c "echo nonsense > $arena/bad; '$hsci' policy load $arena/bad"
    prevents after_the_error cat "$vault/a"
    refuses more_file_systems_than_fit unshare -m bash -c \
        "python3 -I -S $here/helper.py many_mounts 8300 && '$hsci' policy load $arena/p.policy"
    prevents after_that cat "$vault/a"
    gets load_after_that "$hsci" policy load $arena/p.policy
    gets permissive "$hsci" policy load --permissive $arena/p.policy
    gets permissive_lets_pass cat "$vault/a"
    gets verified_as_listed helper verified_as_listed "$here/verified"
    gets list "$hsci" policy list
    unloads rules
    gets after_unloading cat "$vault/a"
    refuses nothing_to_unload "$hsci" policy unload
}

test_rules() {
    restore=restore_vault
    prepare_vault
    "$hsci" policy load $arena/p.policy || exit 1
    read_attempts
    mount_attempts
    change_attempts
    attacks_on_the_guard
    allowed
    [ -z "$quick" ] || return 0
    control=1
    read_attempts
    mount_attempts
    change_attempts
}

# shellcheck shell=bash
# Attempts on the store of a live mount and on the processes that serve it. Sourced by attempts.sh.

outer=$arena/outer
store=$outer/store
mnt=$arena/mnt

restore_store() {
    [ -n "$control" ] || return 0
    [ ! -d $arena/moved-store ] || mv $arena/moved-store $store
    mkdir -p $store/sub
    rm -rf $store/new $store/dir $arena/taken
    echo secret-a > $store/a
    echo secret-b > $store/sub/b
    cp $arena/small.policy $store/
    setfacl -b $store/a
    chmod 666 $store/a
}

# One field of what the mount says of itself.
field() {
    "$hsci" status --json $mnt | sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\).*/\1/p"
}

says() {
    local said
    said=$(field "$1")
    [ "$said" = "$2" ] || { echo "$1 is $said"; field fenced_reason; return 1; }
}

prepare_stores() {
    mkdir -p $store/sub $mnt $arena/evil
    chmod 777 $outer $store $store/sub
    echo secret-a > $store/a
    echo secret-b > $store/sub/b
    chmod 666 $store/a $store/sub/b
    echo 'deny * "/nowhere/**"' > $arena/small.policy
    # More than the smallest room for tables holds.
    for i in {1..3000}; do echo "deny open \"/nowhere/$i/*/x$i\""; done > $arena/large.policy
    cp $arena/small.policy $store/
    # While a store is sealed, mkfs.btrfs cannot find out whether it is a device that is mounted.
    image $arena/btrfs-disk mkfs.btrfs 120M
    exec 8< $store
    mkdir -p $arena/before
    mount --bind $store $arena/before
    "$hsci" mount --extension nullfs $store $mnt
}

store_reads() {
    prevents store_open cat $store/a
    prevents store_open_as_user as_user cat $store/a
    prevents store_open_in_a_user_namespace in_user_namespace cat $store/a
    prevents store_below cat $store/sub/b
    prevents store_by_a_bind_mount_from_before cat $arena/before/sub/b
    prevents store_by_a_descriptor_of_its_directory bash -c 'cat /proc/self/fd/8/sub/b'
    prevents store_after_rename_of_its_parent bash -c \
        "mv $outer $outer.new; cat $outer.new/store/a; mv $outer.new $outer"
    prevents store_by_a_new_bind_mount unshare -m bash -c "mount --bind $store /mnt && cat /mnt/a"
    refuses store_by_the_command "$hsci" policy check $store/small.policy
    prevents store_under_overlay unshare -m bash -c \
        "mkdir -p /run/u /run/w; mount -t overlay o -o lowerdir=$store,upperdir=/run/u,workdir=/run/w /mnt && cat /mnt/a"
    prevents store_by_its_host bash -c "cat /proc/$(field worker_pid)/root$store/a"
    python_refused store_by_handle by_handle $store/sub/b
    python_refused store_through_o_path o_path $store/a
    python_refused store_by_io_uring uring_open $store/a
    refuses store_list ls $store
    refuses store_stat stat $store/a
    refuses store_list_of_access getfacl $store/a
    refuses store_attributes getfattr -d $store/a
}

store_changes() {
    refuses store_write bash -c "echo x > $store/a"
    refuses store_write_as_user as_user bash -c "echo x > $store/a"
    refuses store_create touch $store/new
    refuses store_create_by_a_descriptor bash -c 'touch /proc/self/fd/8/new'
    refuses store_create_directory mkdir $store/dir
    refuses store_remove rm $store/a
    refuses store_truncate truncate -s 0 $store/a
    refuses store_link_out ln $store/a $arena/taken
    refuses store_link_in ln $arena/small.policy $store/new
    refuses store_rename_out mv $store/a $arena/taken
    refuses store_rename_in bash -c "echo x > $arena/x; mv $arena/x $store/new"
    refuses store_rename_of_itself mv $store $arena/moved-store
    refuses store_mode chmod 600 $store/a
    refuses store_owner chown 1 $store/a
    refuses store_times touch -d 2001-01-01 $store/a
    refuses store_set_attribute setfattr -n user.x -v 1 $store/a
    refuses store_set_list_of_access setfacl -m u:1:r $store/a
    refuses store_mount_over bash -c "mount --bind $arena/evil $store/sub && umount $store/sub"
    refuses store_move_mount_over unshare -m bash -c \
        "mount --make-rprivate /; mount -t tmpfs none $arena/evil && mount --move $arena/evil $store/sub"
}

signal() { kill "-$1" "$(field "$2")"; }

# A stopped process is not to be asked for its number.
stop() {
    local process
    process=$(field "$1")
    kill -STOP "$process" && kill -CONT "$process"
}

attack() { helper "$1" "$(field "$2")"; }

host_attacks() {
    local who
    for who in worker_pid supervisor_pid; do
        refuses "stop_of_the_$who" stop $who
        refuses "trace_of_the_$who" attack trace $who
        refuses "memory_of_the_$who" attack memory $who
        refuses "remote_read_of_the_$who" attack remote_read $who
        refuses "descriptors_of_the_$who" attack descriptors $who
        refuses "duplicate_descriptors_of_the_$who" attack duplicate $who
    done
    refuses term_of_the_worker signal TERM worker_pid
    sleep 1
    refuses kill_of_the_worker signal KILL worker_pid
    sleep 1
}

# What must work while the store is sealed. The mount is a mount like any other.
sealed_mount() {
    gets says_that_it_is_sealed says fenced true
    refuses order_of_somebody_else python3 -I -S "$here/helper.py" unseal 8
    prevents store_after_that_order cat $store/a
    gets mount_serves grep -q secret $mnt/a
    gets mount_serves_users as_user grep -q secret $mnt/sub/b
    gets mount_changes bash -c \
        "echo x > $mnt/x && mkdir $mnt/y && mv $mnt/x $mnt/y/z && ln $mnt/y/z $mnt/w && rm -r $mnt/y $mnt/w"
    gets mount_reads_what_the_caches_lost bash -c \
        "sync; echo 3 > /proc/sys/vm/drop_caches; grep -q secret $mnt/sub/b"
    gets upgrade "$hsci" upgrade $mnt
    gets seal_after_the_upgrade says fenced true
    prevents store_after_the_upgrade cat $store/a
    refuses stop_after_the_upgrade stop worker_pid
    gets mount_after_the_upgrade grep -q secret $mnt/a
}

# Where inodes of subvolumes have the same numbers, and stat(2) tells other devices than the kernel uses.
store_on_btrfs() {
    local disk=$arena/btrfs-disk
    btrfs -q subvolume create "$disk/store"
    btrfs -q subvolume create "$disk/free"
    echo secret > "$disk/store/a"
    echo secret > "$disk/free/a"
    gets mount_on_btrfs "$hsci" mount --extension nullfs "$disk/store" $arena/evil
    gets mount_on_btrfs_serves grep -q secret $arena/evil/a
    prevents store_on_btrfs cat "$disk/store/a"
    python_refused store_on_btrfs_by_handle by_handle "$disk/store/a"
    gets other_subvolume grep -q secret "$disk/free/a"
    gets unmount_on_btrfs "$hsci" unmount $arena/evil
    gets store_on_btrfs_after_that grep -q secret "$disk/store/a"
}

# The kernel itself ends processes without asking.
ended_by_the_kernel() {
    local group=/run/cgroup/hsci worker
    worker=$(field worker_pid)
    mkdir -p /run/cgroup
    mount -t cgroup2 none /run/cgroup
    mkdir -p $group
    echo "$worker" > $group/cgroup.procs
    echo 1 > $group/cgroup.kill
    gets mount_after_the_worker_was_ended_by_its_cgroup grep -q secret $mnt/a
    [ "$worker" != "$(field worker_pid)" ]
    verdict "another_worker_serves" $? "worker $worker still"
    prevents store_after_that cat $store/a
    gets seal_after_that says fenced true
}

policies_come_and_go() {
    local before
    gets permissive "$hsci" policy load --permissive $arena/small.policy
    gets permissive_is_told says fenced false
    gets permissive_lets_pass cat $store/a
    gets in_force_again "$hsci" policy load $arena/small.policy
    prevents store_with_a_policy_again cat $store/a
    before=$("$hsci" policy list --json | grep table_bytes)
    gets larger_policy "$hsci" policy load $arena/large.policy
    [ "$before" != "$("$hsci" policy list --json | grep table_bytes)" ]
    verdict "larger_policy_takes_more_room" $? "$before"
    gets seal_with_a_larger_policy says fenced true
    prevents store_with_a_larger_policy cat $store/a
    refuses host_with_a_larger_policy stop worker_pid
    gets unmount "$hsci" unmount $mnt
    gets store_after_the_unmount grep -q secret $store/a
    gets mount_with_a_policy "$hsci" mount --extension nullfs $store $mnt
    gets seal_of_a_new_mount says fenced true
    prevents store_of_a_new_mount cat $store/a
    gets mount_over_itself "$hsci" mount --extension nullfs $arena/evil
    refuses second_mount_of_a_store "$hsci" mount --extension nullfs $store $arena/before
    gets use_of_a_mount_over_itself touch $arena/evil/made
    gets term_unmounts signal TERM supervisor_pid
    sleep 2
    gets store_after_that grep -q secret $store/a
    gets unmount_over_itself "$hsci" unmount $arena/evil
    unloads stores
}

dispatched() {
    requests | awk '{ sum += $2 } END { print sum + 0 }'
}

# The guard judges for the host, and counts what never reaches it.
target_under_the_guard() {
    local calls requests
    printf '%s\n' "target t = \"$mnt\" via nullfs" 'in t: deny(EPERM) unlink' \
        'in t: deny read-data on "sub/**" when user 65534' > $arena/target.policy
    gets policy_with_a_target "$hsci" policy load $arena/target.policy
    gets mount_of_a_target "$hsci" mount --extension nullfs $store $mnt
    gets no_opens_are_dispatched says profile no-open
    gets others_read cat $mnt/sub/b
    refuses read_in_a_target as_user cat $mnt/sub/b
    refuses unlink_in_a_target rm $mnt/a
    for _ in {1..50}; do cat $mnt/sub/b; done > /dev/null
    calls=$(field calls)
    requests=$(dispatched)
    echo "$calls calls, $requests dispatched"
    [ "$calls" -gt 100 ] && [ "$requests" -lt 50 ]
    verdict more_calls_than_requests $? "$calls calls, $requests dispatched"
    "$hsci" unmount $mnt
    "$hsci" policy unload
}

test_stores() {
    restore=restore_store
    prepare_stores
    gets mount_without_a_policy says fenced false
    "$hsci" policy load $arena/small.policy || exit 1
    store_reads
    store_changes
    host_attacks
    sealed_mount
    store_on_btrfs
    ended_by_the_kernel
    policies_come_and_go
    target_under_the_guard
    [ -z "$quick" ] || return 0
    "$hsci" mount --extension nullfs $store $mnt
    control=1
    store_reads
    store_changes
    host_attacks
    "$hsci" unmount $mnt
}

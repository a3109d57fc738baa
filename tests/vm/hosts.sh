# shellcheck shell=bash
# What happens to hosts and is no attack on them, and what the guard answers in their place. Sourced by attempts.sh.

questions() { requests | awk '/"ioctl"/ { found = $2 + 0 } END { print found + 0 }'; }

# A supervisor replaces its worker, and cannot fork at first: it stays a host.
fork_that_fails() {
    local group=/run/cgroup/forks worker
    worker=$(field worker_pid)
    mkdir -p /run/cgroup
    mountpoint -q /run/cgroup || mount -t cgroup2 none /run/cgroup
    mkdir -p $group
    echo "$worker" > $group/cgroup.procs
    gets a_worker_ends_while_nobody_forks \
        helper ended_while_nobody_forks $group/cgroup.kill
    gets mount_after_forks_that_failed grep -q secret $mnt/a
    [ "$worker" != "$(field worker_pid)" ]
    verdict another_worker_after_forks_that_failed $? "worker $worker still"
    refuses stop_of_a_supervisor_that_could_not_fork stop supervisor_pid
    refuses trace_of_a_supervisor_that_could_not_fork attack trace supervisor_pid
    refuses stop_of_its_new_worker stop worker_pid
    prevents store_of_a_supervisor_that_could_not_fork cat $store/a
}

# Whether a file is a terminal is no question for hosts, and no way around rules about ioctl.
terminals() {
    local before
    before=$(questions)
    gets no_terminal helper no_terminal $mnt/a
    [ "$(questions)" = "$before" ]
    verdict terminals_are_not_dispatched $? "$before before, now $(questions)"
    python_refused terminal_of_a_rule no_terminal $mnt/b
}

# Without the guard, each question whether a file is a terminal is a request.
without_a_guard() {
    gets mount_without_a_guard "$hsci" mount --extension nullfs $store $mnt
    gets no_terminal_without_a_guard helper no_terminal $mnt/a
    [ "$(questions)" -ge 100 ]
    verdict terminals_are_dispatched_without_a_guard $? "$(questions) requests"
    gets unmount_without_a_guard "$hsci" unmount $mnt
}

# A policy that only reports is learned from on mounts, guard or not: hosts report there, with paths and programs.
learning() {
    { echo "target t = \"$mnt\" via nullfs" && echo "in t: deny *"; } > $arena/all.policy
    "$hsci" policy load --permissive $arena/all.policy || exit 1
    gets mount_to_learn_from "$hsci" mount --extension nullfs $store $mnt
    gets what_is_to_be_learned bash -c "mkdir $mnt/learned && rmdir $mnt/learned"
    gets learned bash -c "'$hsci' policy learn $mnt > $arena/learned.policy && grep -q 'pass .*mkdir' $arena/learned.policy"
    gets learned_in_force "$hsci" policy load --allow-partial $arena/learned.policy
    gets what_was_learned bash -c "mkdir $mnt/learned && rmdir $mnt/learned"
    refuses what_was_not_learned mkdir $mnt/other
    gets unmount_learned "$hsci" unmount $mnt
    unloads learned
}

test_hosts() {
    restore=true
    mkdir -p $store $mnt
    echo secret-a > $store/a
    echo secret-b > $store/b
    echo "deny ioctl \"$mnt/b\"" > $arena/hosts.policy
    # Where no policy has been loaded before, that is where this list is the first.
    [ $((passed + failed)) != 0 ] || without_a_guard
    "$hsci" policy load $arena/hosts.policy || exit 1
    gets mount_of_hosts "$hsci" mount --extension nullfs $store $mnt
    fork_that_fails
    terminals
    gets unmount_hosts "$hsci" unmount $mnt
    unloads hosts
    learning
}

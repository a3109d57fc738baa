# shellcheck shell=bash
# Attempts to get around rules about what a process did before. Sourced by attempts.sh.

market=$arena/market
hoard=$arena/hoard
heap=$arena/heap

restore_marks() {
    [ -z "$control" ] || rm -rf "${market:?}"/*
    touch $heap/{1..60}
}

prepare_marks() {
    mkdir -p $hoard $market $heap $arena/bin $arena/else
    chmod 755 $arena
    chmod 777 $hoard $market $heap $arena/else
    echo secret-key > $hoard/key
    ln -s $hoard/key $arena/link-to-key
    cp "$(readlink -f "$(command -v bash)")" $arena/bin/declassify
    cp "$(readlink -f "$(command -v cat)")" $arena/bin/reader
    echo secret-steered > $arena/steered
    cat > $arena/marks.policy <<EOP
mark tainted read-data "$hoard/**"
deny write-data, create, rename, truncate, chmod, setxattr "$market/**" when marked tainted
unmark tainted exec "$arena/bin/declassify"
deny unlink "$heap/*" when rate > 20 per 1m
after readdir "$arena/else": deny write-data "$market/after"
deny read-data "$arena/steered" unless secure exe "$arena/bin/reader"
EOP
    { echo "mark other read-data \"$arena/none\"" && echo "deny exec \"$arena/none\" when marked other"; } |
        cat - $arena/marks.policy > $arena/marks2.policy
}

# Whoever has read writes nothing: NAME SCRIPT
taints() {
    refuses "$1 $whom" ${whom:+"$whom"} bash -c "read -r line < $hoard/key; $2"
}

# Executes the rest of its arguments, as the tracer of what it executes.
tracer='
import ctypes, os, sys
ptrace = ctypes.CDLL(None).ptrace
child = os.fork()
if child == 0:
    ptrace(0, 0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])
status = os.waitpid(child, 0)[1]
while os.WIFSTOPPED(status):
    ptrace(7, child, 0, 0)
    status = os.waitpid(child, 0)[1]
sys.exit(os.waitstatus_to_exitcode(status))'

steering_attempts() {
    local read=("$arena/bin/reader" "$arena/steered")
    prevents a_program_that_a_user_started as_user "${read[@]}"
    prevents a_library_before_the_others as_user env LD_PRELOAD=$arena/none.so "${read[@]}"
    prevents a_program_in_a_namespace_of_a_user in_user_namespace "${read[@]}"
    prevents a_program_under_a_tracer python3 -I -S -c "$tracer" "${read[@]}"
    prevents a_program_of_a_user_under_a_tracer as_user python3 -I -S -c "$tracer" "${read[@]}"
    prevents a_program_that_became_a_user setpriv --reuid=65534 --clear-groups "${read[@]}"
    prevents a_program_that_may_not_be_asked cat $arena/steered
}

mark_attempts() {
    local whom
    for whom in "" as_user; do
        taints a_write_by_who_read "echo x > $market/a"
        taints a_write_by_a_child "bash -c 'echo x > $market/a'"
        taints a_write_by_a_child_of_a_child "bash -c '(echo x > $market/a) || exit 1; exit 0'"
        taints a_write_after_exec "exec bash -c 'echo x > $market/a'"
        taints a_directory_made "mkdir $market/dir"
        taints a_symbolic_link "ln -s x $market/symlink"
        taints a_rename_into_it "echo x > $arena/else/x; mv $arena/else/x $market/x"
        taints an_orphan "(setsid bash -c 'sleep 0.5; echo x > $market/orphan' 2> $arena/else/err &); sleep 2; [ -e $market/orphan ]"
        taints another_namespace "unshare -U -r -m -p -f bash -c 'echo x > $market/a'"
        refuses "read_by_a_link $whom" $whom bash -c "read -r line < $arena/link-to-key; echo x > $market/a"
        refuses "after_without_a_name $whom" $whom python3 -I -S -c \
            "import os; os.listdir('$arena/else'); open('$market/after', 'w')"
        as=$whom
        python_refused a_thread_reads_and_another_writes thread_reads "$hoard/key:$market/a"
        python_refused a_thread_executes thread_executes "$hoard/key:$market/a"
        python_refused a_process_is_spawned spawned "$hoard/key:$market/a"
        python_refused a_child_of_shared_memory shared_memory "$hoard/key:$market/a"
        python_refused mapped_and_written mapped_and_written "$hoard/key:$market/a"
        python_refused io_uring_reads uring_reads "$hoard/key:$market/a"
        python_refused a_program_that_takes_the_mark_does_not_run failed_exec "$hoard/key:$market/a"
        python_refused a_program_that_takes_the_mark_is_mapped mapped_program "$hoard/key:$market/a"
        as=
    done
    refuses a_rate_by_one bash -c "for i in {1..60}; do rm $heap/\$i; done; [ -z \"\$(ls $heap)\" ]"
    refuses a_rate_by_many_at_once bash -c "ls $heap | xargs -P 8 -I {} rm $heap/{}; [ -z \"\$(ls $heap)\" ]"
    refuses a_rate_by_orphans bash -c \
        "for i in {1..60}; do (setsid rm $heap/\$i &); done; sleep 2; [ -z \"\$(ls $heap)\" ]"
    refuses remove_the_memory rm -rf /sys/fs/bpf/hsci
}

test_marks() {
    restore=restore_marks
    prepare_marks
    "$hsci" policy load $arena/marks.policy || exit 1
    mark_attempts
    steering_attempts
    gets a_program_that_root_started bash -c "$arena/bin/reader $arena/steered | grep -q secret"
    gets a_write_by_who_has_not_read bash -c "echo x > $market/free"
    gets a_write_by_who_was_started_before bash -c \
        "(while [ ! -e $arena/else/go ]; do sleep 0.1; done; echo x > $market/before) & read -r line < $hoard/key; touch $arena/else/go; wait \$!"
    gets a_write_after_declassifying bash -c \
        "read -r line < $hoard/key; exec $arena/bin/declassify -c 'echo x > $market/declassified'"
    gets a_rate_of_another_user as_user rm $heap/1
    bash -c "read -r line < $hoard/key; touch $arena/else/ready; while [ ! -e $arena/else/swapped ]; do sleep 0.1; done; echo x > $market/swapped" 2> /dev/null &
    while [ ! -e $arena/else/ready ]; do sleep 0.1; done
    gets another_policy "$hsci" policy load $arena/marks2.policy
    touch $arena/else/swapped
    wait $!
    gets a_mark_kept_by_another_policy [ ! -e $market/swapped ]
    gets nothing_undecidable bash -c "'$hsci' policy list | grep -q ' 0 undecidable'"
    unloads marks
    gets no_pins_left [ ! -e /sys/fs/bpf/hsci ]
    [ -z "$quick" ] || return 0
    control=1
    mark_attempts
    steering_attempts
}

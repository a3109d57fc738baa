//! Stores that several machines reach: one host at a time, by a lock that holds across them or on somebody's word.

use std::fs;
use std::path::Path;

use hsci_tests::{Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "everyday::shared::one_of_two_hosts_has_a_store_on_glusterfs",
        seconds: 240,
        body: glusterfs,
    },
    Test {
        name: "everyday::shared::a_host_that_was_cut_off_waits_and_writes_no_more_to_what_another_has",
        seconds: 300,
        body: cut_off,
    },
    Test {
        name: "everyday::shared::a_file_system_without_locks_for_all_takes_a_word",
        seconds: 120,
        body: without_locks,
    },
];

/// A volume on a server of its own, in namespaces that end with everything in them. A host by another name stands
/// for one on another machine.
const VOLUME: &str = r#"
hsci=$1 dir=$2
# Mounts of other tests, which these copies would keep busy.
awk '/ - fuse\.hsci / || $5 ~ /\/hsci-[0-9]/ { print $5 }' /proc/self/mountinfo | tac | while read -r at; do umount -l "$at" 2> /dev/null; done
ip link set lo up || { echo SKIP no network namespace; exit; }
mkdir -p /var/lib/glusterd /var/log/glusterfs
# With the socket of its command.
for place in /run /var/lib/glusterd /var/log/glusterfs; do mount -t tmpfs -o mode=755 tmpfs $place; done
mkdir /run/hsci /run/gluster
# The machine of client a.
unshare -n sleep 1000 & apart=$!
in_a() { nsenter --net=/proc/$apart/ns/net "$@"; }
for try in $(seq 100); do
    [ "$(readlink /proc/$apart/ns/net)" = "$(readlink /proc/self/ns/net)" ] || break; sleep 0.1
done
ip link add cable0 type veth peer name cable1 netns $apart && ip addr add 10.77.0.1/24 dev cable0 || { echo SKIP no cable; exit; }
ip link set cable0 up
in_a ip addr add 10.77.0.2/24 dev cable1
in_a ip link set cable1 up
glusterd -N -l /var/log/glusterfs/glusterd.log --pid-file=/var/run/gluster/glusterd.pid &
for try in $(seq 150); do gluster --mode=script peer status > /dev/null 2>&1 && break; sleep 0.2; done
mkdir -p $dir/brick $dir/a $dir/b $dir/shown-a $dir/shown-b
volume() { gluster --mode=script volume "$@" > /dev/null; }
volume create vol 10.77.0.1:$dir/brick/vol force && volume start vol || { echo SKIP no volume; exit; }
# Shorter than by themselves (42 s), and longer than a host waits.
volume set vol network.ping-timeout 12 && volume set vol server.tcp-user-timeout 12
in_a mount -t glusterfs 10.77.0.1:/vol $dir/a || { echo SKIP no client; exit; }
mount -t glusterfs 10.77.0.1:/vol $dir/b || { echo SKIP no client; exit; }
set -e
mkdir $dir/a/store
as() { unshare -u bash -c 'hostname "$0"; exec "$@"' "$@"; }
mounted_by() { as $1 $hsci mount -o settle=1h $dir/$2/store $dir/shown-$2; }
pids_of() { $hsci status --json $1 | grep -E '"(worker|supervisor)_pid"' | grep -oE '[0-9]+'; }
"#;

const GLUSTER: &str = r#"
mounted_by one a
seq 30000 > $dir/shown-a/file
$hsci settle $dir/shown-a
test $(stat -c %b $dir/shown-a/file) -lt 200
echo more >> $dir/shown-a/file
# The second is refused, with the name of the first.
code=0; mounted_by two b 2> $dir/refused || code=$?
test $code = 5; grep "of the machine one" $dir/refused
! mountpoint -q $dir/shown-b
# The first is gone, with all its processes; the second takes over, and finds what was acknowledged.
kill -9 $(pids_of $dir/shown-a)
while umount -l $dir/shown-a 2> /dev/null; do :; done
mounted_by two b 2> $dir/said
grep "of the machine one" $dir/said
$hsci status $dir/shown-b | grep "of the machine one"
(seq 30000; echo more) | cmp - $dir/shown-b/file
echo second >> $dir/shown-b/file
code=0; mounted_by one a 2> $dir/refused || code=$?
test $code = 5; grep "of the machine two" $dir/refused
# Unmounted in order, nothing is said any more, once a client has forgotten what it has read of the lock.
$hsci unmount $dir/shown-b
sleep 3
mounted_by one a 2> $dir/said
test ! -s $dir/said
(seq 30000; echo more; echo second) | cmp - $dir/shown-a/file
$hsci unmount $dir/shown-a
$hsci check $dir/a/store
umount $dir/a $dir/b
echo DONE
"#;

const CUT_OFF: &str = r#"
mounted_by one a
pids=$(pids_of $dir/shown-a)
# One line after the other, each said to be written once it is safe; once more where that failed.
write_lines() {
    local line=0
    while [ ! -e $dir/enough ]; do
        line=$((line + 1))
        until echo line $line | dd status=none oflag=append conv=notrunc,fsync of=$dir/shown-a/lines 2>> $dir/errors; do
            mountpoint -q $dir/shown-a && [ ! -e $dir/enough ] || return 0
            sleep 0.2
        done
        echo $line >> $dir/said
    done
}
said() { tail -1 $dir/said; }
touch $dir/shown-a/lines
write_lines & writer=$!
sleep 1
# Cut off for a time, and nobody else came: whoever writes has waited.
in_a ip link set cable1 down
for try in $(seq 300); do $hsci status $dir/shown-a | grep -q "requests wait" && break; sleep 0.1; done
$hsci status $dir/shown-a | grep "requests wait"
before=$(said)
in_a ip link set cable1 up
for try in $(seq 600); do [ $(said) -gt $((before + 10)) ] && break; sleep 0.1; done
[ $(said) -gt $((before + 10)) ]
touch $dir/enough; wait $writer
$hsci status $dir/shown-a | grep "requests wait" && exit 1
seq $(said) | sed 's/^/line /' | sort > $dir/wanted
# A write of which no one said that it is safe may have left zeros.
echo "zeros: $(tr -dc '\0' < $dir/shown-a/lines | wc -c)"
tr -d '\0' < $dir/shown-a/lines | sort -u > $dir/found
comm -23 $dir/wanted $dir/found > $dir/lost; cat $dir/lost; [ ! -s $dir/lost ]
# Cut off until another has the store.
echo kept > $dir/shown-a/kept; sync $dir/shown-a/kept
in_a ip link set cable1 down
SECONDS=0
until mounted_by two b 2> $dir/refused; do grep "of the machine one" $dir/refused; sleep 1; done
echo "the other took over after $SECONDS s"
grep kept $dir/shown-b/kept
seq 30000 > $dir/shown-b/second
in_a ip link set cable1 up
for try in $(seq 600); do
    for pid in $pids; do [ ! -e /proc/$pid ] || { sleep 0.1; continue 2; }; done
    break
done
for pid in $pids; do [ ! -e /proc/$pid ]; done
# Its users have errors, and the other one's find what they wrote.
! echo more >> $dir/shown-a/kept
! cat $dir/shown-a/kept
umount -l $dir/shown-a
seq 30000 | cmp - $dir/shown-b/second
$hsci unmount $dir/shown-b
$hsci check $dir/b/store
umount $dir/a $dir/b
echo DONE
"#;

fn glusterfs(dir: &Path) {
    on_two_clients(GLUSTER, dir);
}

fn cut_off(dir: &Path) {
    let out = on_two_clients(CUT_OFF, dir);
    out.lines()
        .filter(|line| line.contains("took over after") || line.contains("zeros"))
        .for_each(|line| println!("{line}"));
}

fn on_two_clients(script: &str, dir: &Path) -> String {
    machine::need_root();
    for program in ["glusterd", "gluster", "glusterfs", "ip"] {
        machine::need(program);
    }
    let script = [VOLUME, script].concat();
    let apart =
        ["-m", "-n", "-p", "-f", "--mount-proc", "--kill-child", "--propagation", "private"];
    let run = Run::new("unshare").args(apart).args(["bash", "-c", &script, "bash"]);
    let done = run.arg(machine::hsci()).arg(dir).done();
    if let Some(why) = done.out.lines().find_map(|line| line.strip_prefix("SKIP ")) {
        hsci_tests::skip(&format!("GlusterFS cannot be had: {why}"));
    }
    assert!(done.code == 0 && done.out.contains("DONE"), "{}\n{}", done.out, done.err);
    done.out
}

/// Bindfs bears the name of a file system that others reach and that has no locks for them.
fn without_locks(dir: &Path) {
    machine::need_root();
    machine::need("bindfs");
    let (below, shared, shown) = (dir.join("below"), dir.join("shared"), dir.join("shown"));
    for made in [&below, &shared, &shown] {
        fs::create_dir(made).expect("a directory");
    }
    Run::new("bindfs").args(["-o", "subtype=sshfs"]).arg(&below).arg(&shared).ok();
    let _bound = super::stays::Unmounted(shared.clone());
    let mount = |options: &str| {
        let run = Run::new(machine::hsci()).args(["mount", "-o", &format!("settle=1h{options}")]);
        run.arg(&shared).arg(&shown).done()
    };
    let unmount = || Run::new(machine::hsci()).arg("unmount").arg(&shown).ok();
    mount("").fails(3, &["fuse.sshfs", "across machines", "single-host"]);
    assert!(!shared.join(".hsci").exists(), "nothing is left behind");
    let done = mount(",single-host");
    assert_eq!((done.code, done.err.as_str()), (0, ""));
    fs::write(shown.join("file"), "text\n").expect("written");
    unmount();
    // As a machine has left it that is gone.
    let lock = shared.join(".hsci/lock");
    let holder = r#"{"pid":17,"machine":"elsewhere","since":1700000000}"#;
    fs::write(&lock, holder).expect("written");
    let words = ["process 17 of the machine elsewhere", "days ago", "-o single-host,take-over"];
    mount(",single-host").fails(5, &words);
    assert_eq!(fs::read_to_string(&lock).expect("read"), holder, "refused, it is as it was");
    // The line that is named.
    let done = mount(",single-host,take-over");
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains("of the machine elsewhere"), "{}", done.err);
    assert_eq!(fs::read_to_string(shown.join("file")).expect("read"), "text\n");
    unmount();
    let done = mount(",single-host");
    assert_eq!((done.code, done.err.as_str()), (0, ""), "there is nothing to take over");
    unmount();
}

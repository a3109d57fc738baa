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
        name: "everyday::shared::a_file_system_without_locks_for_all_takes_a_word",
        seconds: 120,
        body: without_locks,
    },
];

/// Two clients of one volume, in namespaces of their own, which end with everything in them. A host by another name
/// stands for one on another machine.
const GLUSTER: &str = r#"
hsci=$1 dir=$2
ip link set lo up && ip addr add 10.77.0.1/24 dev lo || { echo SKIP no network namespace; exit; }
mkdir -p /run/hsci
for place in /run/hsci /var/lib/glusterd /var/run/gluster /var/log/glusterfs; do
    mkdir -p $place; mount -t tmpfs -o mode=755 tmpfs $place
done
glusterd -N -l /var/log/glusterfs/glusterd.log --pid-file=/var/run/gluster/glusterd.pid &
for try in $(seq 150); do gluster --mode=script peer status > /dev/null 2>&1 && break; sleep 0.2; done
mkdir -p $dir/brick $dir/a $dir/b $dir/shown-a $dir/shown-b
volume() { gluster --mode=script volume "$@" > /dev/null; }
volume create vol 10.77.0.1:$dir/brick/vol force && volume start vol || { echo SKIP no volume; exit; }
for client in a b; do
    mount -t glusterfs 10.77.0.1:/vol $dir/$client || { echo SKIP no client; exit; }
done
set -e
mkdir $dir/a/store
as() { unshare -u bash -c 'hostname "$0"; exec "$@"' "$@"; }
mounted_by() { as $1 $hsci mount -o settle=1h $dir/$2/store $dir/shown-$2; }
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
pids=$($hsci status --json $dir/shown-a | grep -E '"(worker|supervisor)_pid"' | grep -oE '[0-9]+')
kill -9 $pids
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

fn glusterfs(dir: &Path) {
    machine::need_root();
    for program in ["glusterd", "gluster", "glusterfs", "ip"] {
        machine::need(program);
    }
    let apart =
        ["-m", "-n", "-p", "-f", "--mount-proc", "--kill-child", "--propagation", "private"];
    let run = Run::new("unshare").args(apart).args(["bash", "-c", GLUSTER, "bash"]);
    let done = run.arg(machine::hsci()).arg(dir).done();
    if let Some(why) = done.out.lines().find_map(|line| line.strip_prefix("SKIP ")) {
        hsci_tests::skip(&format!("GlusterFS cannot be had: {why}"));
    }
    assert!(done.code == 0 && done.out.contains("DONE"), "{}\n{}", done.out, done.err);
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

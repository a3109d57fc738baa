//! `profile=data`: files that the kernel serves by itself while they are open.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use hsci_tests::command::ALICE;
use hsci_tests::sys::Map;
use hsci_tests::{Mount, Random, Run, Test, machine};

use crate::mounting::alice_in;
use crate::policies::{self, InForce};
use crate::{exerciser, survival};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "data::the_kernel_reads_and_writes", seconds: 60, body: serves },
    Test { name: "data::every_way_shows_the_same_bytes", seconds: 60, body: same_bytes },
    Test { name: "data::closed_files_are_compressed", seconds: 60, body: settles },
    Test { name: "data::bytes_like_an_image_stay_what_they_are", seconds: 60, body: images },
    Test { name: "data::set_user_id_goes_with_a_write", seconds: 60, body: set_user_id },
    Test { name: "data::the_supervisor_gets_its_rights_back", seconds: 60, body: rights },
    Test { name: "data::rules_about_content_are_kept", seconds: 120, body: rules },
    Test { name: "data::opens_outlive_workers", seconds: 60, body: outlives },
    Test { name: "data::killed_workers_go_unnoticed", seconds: 1500, body: kills },
    Test { name: "data::users_mount_without_it", seconds: 60, body: by_a_user },
    Test { name: "data::exerciser", seconds: 120, body: exercise },
];

const OPTIONS: &str = "profile=data,settle=300ms,algorithm=zstd:1";
const LEN: usize = 1 << 20;

fn requests(mount: &Mount, name: &str) -> u64 {
    mount.status()["requests"][name].as_u64().unwrap_or(0)
}

fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).open(path).expect("opened")
}

fn worker(mount: &Mount) -> i32 {
    mount.status()["worker_pid"].as_i64().expect("a process") as i32
}

fn kill_worker(mount: &Mount) {
    let before = worker(mount);
    Run::shell(format!("kill -9 {before}")).ok();
    let begun = Instant::now();
    while worker(mount) == before {
        assert!(begun.elapsed() < Duration::from_secs(10), "no other worker");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a file that nobody has open takes less space than it has bytes.
fn compressed(lower: &Path) -> bool {
    let begun = Instant::now();
    let is_small = || fs::metadata(lower).expect("it is there").len() < LEN as u64 / 2;
    while !is_small() && begun.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(50));
    }
    is_small()
}

fn serves(dir: &Path) {
    machine::need_root();
    for extension in ["nullfs", "compressfs"] {
        let mount = Mount::new(dir, extension, extension, "profile=data");
        assert_eq!(mount.status()["profile"], "data");
        let file = open(&mount.path("file"));
        for block in 0..256 {
            file.write_all_at(&[block as u8; 4096], block * 4096).expect("written");
        }
        let mut bytes = vec![0; LEN];
        file.read_exact_at(&mut bytes, 0).expect("read");
        assert!(bytes.chunks(4096).enumerate().all(|(at, block)| block == [at as u8; 4096]));
        file.sync_all().expect("synced");
        let map = Map::new(&file, LEN).expect("mapped");
        map.write(5000, b"through a mapping");
        map.sync().expect("synced");
        let counted = ["read", "write"].map(|name| requests(&mount, name));
        assert_eq!(counted, [0, 0], "{extension}: reads and writes that the host saw");
        assert!(requests(&mount, "open") > 0, "{extension}: opens are counted");
    }
}

/// It hands a file to the kernel with the ids of the file's owner, and all but one of its capabilities put aside.
fn rights(dir: &Path) {
    machine::need_root();
    let mount = Mount::new(dir, "mount", "nullfs", "profile=data");
    let path = mount.path("file");
    let supervisor = mount.status()["supervisor_pid"].as_u64().expect("a process");
    let of_the_broker = || {
        let threads = fs::read_dir(format!("/proc/{supervisor}/task")).expect("threads");
        let statuses = threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("status")).ok());
        let broker = statuses.into_iter().find(|status| status.starts_with("Name:\tbroker\n"));
        let broker = broker.expect("the thread that hands files over");
        let lines = broker
            .lines()
            .filter(|line| ["Uid", "Gid", "Cap"].iter().any(|it| line.starts_with(it)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = of_the_broker();
    assert_eq!(before.len(), 7, "{before:?}");
    fs::write(&path, "text").expect("written");
    Run::new("chown").arg(ALICE.to_string()).arg(&path).ok();
    let writes = requests(&mount, "write");
    open(&path).write_all_at(b"by the kernel", 0).expect("written");
    assert_eq!(requests(&mount, "write"), writes, "the kernel served it");
    assert_eq!(of_the_broker(), before);
}

/// Opens by the kernel and by the host, mappings, truncation, and the file below.
fn same_bytes(dir: &Path) {
    machine::need_root();
    let mount = Mount::new(dir, "mount", "compressfs", OPTIONS);
    let (path, lower) = (mount.path("file"), mount.lower().join("file"));
    fs::write(&path, vec![1; LEN]).expect("written");
    mount.settle();
    assert!(compressed(&lower), "it was closed");
    // The host serves what is compressed: these pages are the kernel's cache of the mount.
    let mut cached = open(&path);
    let mut bytes = vec![0; LEN];
    cached.read_exact(&mut bytes).expect("read");
    cached.write_all_at(b"by the host", 0).expect("written");
    let other = open(&path);
    other.write_all_at(b"by another", 100).expect("written");
    cached.read_exact_at(&mut bytes[..10], 100).expect("read");
    assert_eq!(&bytes[..10], b"by another");
    drop((cached, other));
    // Emptied, it is stored as it is.
    fs::write(&path, vec![2; LEN]).expect("written");
    let kernel = open(&path);
    kernel.write_all_at(b"by the kernel", 0).expect("written");
    assert_eq!(fs::read(&lower).expect("read")[..13], *b"by the kernel", "it is the lower file");
    assert_eq!(fs::read(&path).expect("read")[..13], *b"by the kernel");
    kernel.set_len(5).expect("truncated");
    kernel.write_all_at(b"!", 9).expect("written");
    assert_eq!(fs::read(&path).expect("read"), b"by th\0\0\0\0!");
    drop(kernel);
    mount.settle();
    assert_eq!(fs::read(&path).expect("read"), b"by th\0\0\0\0!");
}

fn settles(dir: &Path) {
    machine::need_root();
    let mut mount = Mount::new(dir, "mount", "compressfs", OPTIONS);
    let (path, lower) = (mount.path("file"), mount.lower().join("file"));
    let file = open(&path);
    file.write_all_at(&vec![7; LEN], 0).expect("written");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(fs::metadata(&lower).expect("there").len(), LEN as u64, "open, it stays as it is");
    let reader = File::open(&path).expect("opened");
    drop(file);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(fs::metadata(&lower).expect("there").len(), LEN as u64, "it is read still");
    drop(reader);
    assert!(compressed(&lower), "nobody has it open any more");
    assert_eq!(fs::read(&path).expect("read"), vec![7; LEN]);
    mount.unmount();
    mount.check();
}

fn images(dir: &Path) {
    machine::need_root();
    let mut mount = Mount::new(dir, "mount", "compressfs", OPTIONS);
    fs::write(mount.path("text"), vec![b'x'; LEN]).expect("written");
    mount.settle();
    assert!(compressed(&mount.lower().join("text")));
    // A whole image with zeros behind it, so that it is worth one of its own, and the head of one with anything behind
    // it: a user's own bytes.
    let mut image = fs::read(mount.lower().join("text")).expect("read");
    image.resize(image.len() + LEN, 0);
    let torn = [&image[..64.min(image.len())], &Random::new(1).bytes(100_000, false)].concat();
    for (name, bytes) in [("image", &image), ("torn", &torn)] {
        let mut file = open(&mount.path(name));
        file.write_all(bytes).expect("written");
        drop(file);
    }
    let same = |mount: &Mount, when: &str| {
        for (name, bytes) in [("image", &image), ("torn", &torn)] {
            assert_eq!(&fs::read(mount.path(name)).expect("read"), bytes, "{name} {when}");
            let len = fs::metadata(mount.path(name)).expect("there").len();
            assert_eq!(len, bytes.len() as u64, "{name} {when}");
        }
    };
    same(&mount, "at once");
    kill_worker(&mount);
    same(&mount, "for the next worker");
    mount.unmount();
    mount.check();
    let (lower, at) = (mount.lower().to_owned(), mount.dir().to_owned());
    drop(mount);
    let mut plain = Mount::at(&lower, &at, "compressfs", "settle=100ms");
    same(&plain, "without the profile");
    plain.settle();
    same(&plain, "settled");
    open(&plain.path("image")).write_all_at(&image[..32], 0).expect("written");
    same(&plain, "written by the host");
    plain.settle();
    plain.remount();
    same(&plain, "settled and mounted again");
    plain.unmount();
    plain.check();
}

fn set_user_id(dir: &Path) {
    machine::need_root();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("for others");
    let mount = Mount::new(dir, "mount", "compressfs", OPTIONS);
    let path = mount.path("program");
    fs::write(&path, "#!/bin/sh\n").expect("written");
    let kept = open(&path);
    let name = path.to_str().expect("text");
    for (mode, becomes) in [(0o4777, 0o777), (0o2777, 0o777)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        Run::as_user(ALICE, "sh").args(["-c", &format!("echo x >> {name}")]).ok();
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o7777;
        assert_eq!(mode, becomes);
    }
    Run::shell(format!("setcap cap_net_raw+ep {name} && getcap {name} | grep -q cap_net_raw")).ok();
    Run::as_user(ALICE, "sh").args(["-c", &format!("echo x >> {name}")]).ok();
    assert_eq!(Run::shell(format!("getcap {name}")).ok(), "");
    drop(kept);
}

fn rules(dir: &Path) {
    let policy = InForce::take(dir);
    let mount = Mount::new(dir, "mount", "compressfs", OPTIONS);
    let write = |file: &str| fs::write(mount.path(file), vec![0; 4096]);
    let target = policies::target(dir, "compressfs");
    policy.load(&format!("{target}in t: deny mkdir on \"none\"\n"));
    write("free").expect("written");
    assert_eq!(requests(&mount, "write"), 0, "no rule is about content");
    policy.load(&format!("{target}in t: deny grow on \"small\" when size > 1K\n"));
    assert!(write("small").is_err(), "the rule holds");
    assert!(requests(&mount, "write") > 0, "the host saw it");
}

/// A file that is open across deaths is read, written, opened and closed as if nothing was.
fn outlives(dir: &Path) {
    machine::need_root();
    let mut mount = Mount::new(dir, "mount", "compressfs", OPTIONS);
    let path = mount.path("file");
    let file = open(&path);
    let mut expected = Vec::new();
    for turn in 0..6_u8 {
        let block = [turn; 5000];
        expected.extend_from_slice(&block);
        file.write_all_at(&block, u64::from(turn) * 5000).expect("written");
        let other = File::open(&path).expect("opened");
        kill_worker(&mount);
        assert_eq!(fs::read(&path).expect("read"), expected);
        drop(other);
        std::thread::sleep(Duration::from_millis(400));
    }
    assert_eq!(requests(&mount, "write"), 0, "the kernel wrote");
    drop(file);
    mount.settle();
    assert_eq!(fs::read(&path).expect("read"), expected);
    mount.unmount();
    mount.check();
}

fn kills(dir: &Path) {
    machine::need("sqlite3");
    let options = "settle=200ms,chunk=64K,algorithm=zstd:1,profile=data";
    survival::campaign(dir, "compressfs", options, machine::amount("HSCI_KILLS", 100) / 2);
}

fn by_a_user(dir: &Path) {
    let alice = alice_in(dir);
    let point = dir.join("mount");
    let mount = alice(machine::hsci()).args(["mount", "-o", "profile=data"]);
    mount.arg(dir.join("lower")).arg(&point).ok();
    let line = format!("seq 100000 > '{0}/a'; seq 3 >> '{0}/a'; tail -1 '{0}/a'", point.display());
    assert_eq!(alice("bash".into()).args(["-ec", &line]).ok(), "3\n");
    alice(machine::hsci()).arg("unmount").arg(&point).ok();
}

fn exercise(dir: &Path) {
    exerciser::exercise(dir, "compressfs", "profile=data,settle=50ms,chunk=32K", 20);
}

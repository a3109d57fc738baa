//! A lower file system filled to the brim: the write that hits the end fails, nothing else does.

use std::fs::File;
use std::fs::Permissions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Random, Run, Test, machine, mount};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "full_disk::compressfs_loses_nothing", seconds: 180, body: compressfs },
    Test { name: "full_disk::nullfs_loses_nothing", seconds: 120, body: nullfs },
    Test { name: "full_disk::the_reserve_is_for_root", seconds: 120, body: reserve },
];

const SIZE: u64 = 64 << 20;

fn compressfs(dir: &Path) {
    // Slow to settle at first, so that the disk fills with raw files.
    fill(dir, "compressfs", "settle=10m");
}

fn nullfs(dir: &Path) {
    fill(dir, "nullfs", "");
}

/// What ext4 keeps for root (5 %) is out of reach for others, through the host as without it.
fn reserve(dir: &Path) {
    let _disk = machine::loop_file_system("ext4", SIZE, &dir.join("image"), &dir.join("disk"));
    for extension in ["compressfs", "nullfs"] {
        let lower = dir.join("disk").join(extension);
        let point = dir.join(extension);
        std::fs::create_dir(&lower).expect("lower directory");
        std::fs::create_dir(&point).expect("mount point");
        let options = if extension == "compressfs" { "settle=10m" } else { "" };
        let mount = Mount::at(&lower, &point, extension, options);
        std::fs::set_permissions(mount.dir(), Permissions::from_mode(0o1777)).expect("chmod");
        let noise = |name: &str, count: &str| {
            let file = format!("of={}", mount.path(name).display());
            ["if=/dev/urandom".to_owned(), file, "bs=64K".to_owned(), format!("count={count}")]
        };
        let filled = Run::as_user(ALICE, "dd").args(noise("alice", "4096")).done();
        assert!(filled.code != 0 && filled.err.contains("No space left"), "{}", filled.err);
        let more = Run::as_user(ALICE, "dd").args(noise("more", "1")).done();
        assert!(more.code != 0, "{extension}: alice takes space from the reserve");
        Run::new("dd").args(noise("root", "16")).ok();
        for name in ["alice", "more", "root"] {
            std::fs::remove_file(mount.path(name)).expect("remove");
        }
    }
}

/// A file that was written, and what must be in it.
struct Written {
    name: String,
    bytes: Vec<u8>,
}

fn fill(dir: &Path, extension: &str, options: &str) {
    let _disk = machine::loop_file_system("ext4", SIZE, &dir.join("image"), &dir.join("disk"));
    let lower = dir.join("disk/store");
    let point = dir.join("mount");
    std::fs::create_dir(&lower).expect("lower directory");
    std::fs::create_dir(&point).expect("mount point");
    let mut mount = Mount::at(&lower, &point, extension, options);
    let mut random = Random::new(Random::seed("full disk"));
    let mut files = write_until_full(&mount, "first", &mut random);
    println!("{} files fit", files.len());
    verify(&mount, &files, "after the disk was full");
    if extension == "compressfs" {
        let full = mount::hsci(["settle"], mount.dir());
        println!("settling a full disk: exit code {} {}", full.code, full.err.trim());
        verify(&mount, &files, "after settling a full disk");
    }
    mount.remount();
    verify(&mount, &files, "after a remount of a full disk");
    let survivors = files.split_off(files.len() / 2);
    for file in &files {
        std::fs::remove_file(mount.path(&file.name)).expect("remove");
    }
    verify(&mount, &survivors, "after half was deleted");
    if extension == "compressfs" {
        let done = mount::hsci(["settle"], mount.dir());
        assert_eq!(done.code, 0, "with half of the disk free: {}", done.err);
        verify(&mount, &survivors, "after settling with room");
    }
    let more = write_until_full(&mount, "second", &mut random);
    println!("{} more files fit after half was deleted", more.len());
    assert!(more.len() >= files.len() / 2, "the space of deleted files comes back");
    verify(&mount, &survivors, "after filling it again");
    verify(&mount, &more, "after filling it again");
    rewrite_some(&mount, &survivors);
    mount.unmount();
    mount.check();
    mount.mount();
    verify(&mount, &survivors, "at last");
    verify(&mount, &more, "at last");
}

/// Writes files of up to 1 MiB until two in a row do not fit. What a failing write has left of its
/// file counts as far as it was acknowledged.
fn write_until_full(mount: &Mount, prefix: &str, random: &mut Random) -> Vec<Written> {
    let mut files = Vec::new();
    let mut failures = 0;
    while failures < 2 {
        let name = format!("{prefix}-{}", files.len());
        let len = 1 + random.below(1 << 20) as usize;
        let compressible = random.once_in(2);
        let mut bytes = random.bytes(len, compressible);
        match write(&mount.path(&name), &bytes) {
            Ok(()) => {}
            Err((done, error)) => {
                assert_eq!(error, ErrorKind::StorageFull, "{name} at {done}");
                failures += 1;
                bytes.truncate(done);
                if done == 0 {
                    continue;
                }
            }
        }
        files.push(Written { name, bytes });
        assert!(files.len() < 100_000, "the disk never fills");
    }
    files
}

/// Writes a file in pieces; on failure tells how much was acknowledged.
fn write(path: &Path, bytes: &[u8]) -> Result<(), (usize, ErrorKind)> {
    let mut file = File::create(path).map_err(|error| (0, error.kind()))?;
    let mut done = 0;
    for piece in bytes.chunks(50_000) {
        let mut rest = piece;
        while !rest.is_empty() {
            let written = file.write(rest).map_err(|error| (done, error.kind()))?;
            rest = &rest[written..];
            done += written;
        }
    }
    Ok(())
}

/// Overwrites sealed files on the full disk in the middle: each write either succeeds whole or
/// leaves what was there.
fn rewrite_some(mount: &Mount, files: &[Written]) {
    use std::os::unix::fs::FileExt as _;
    for file in files.iter().filter(|file| file.bytes.len() > 100).take(20) {
        let handle = File::options().write(true).open(mount.path(&file.name)).expect("open");
        let middle = file.bytes.len() / 2;
        let same = &file.bytes[middle..middle + 10];
        if let Err(error) = handle.write_all_at(same, middle as u64) {
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{}", file.name);
        }
    }
    verify(mount, files, "after rewriting on a full disk");
}

fn verify(mount: &Mount, files: &[Written], when: &str) {
    for file in files {
        let found = std::fs::read(mount.path(&file.name))
            .unwrap_or_else(|error| panic!("{when}: {}: {error}", file.name));
        assert!(found.starts_with(&file.bytes), "{when}: {} has changed", file.name);
    }
}

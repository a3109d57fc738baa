//! Arbitrary bytes as a store: no crash, no hang, bounded memory.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Random, Run, Test, machine, mount};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "fuzz::arbitrary_files_in_the_lower_directory", seconds: 3600, body: files },
    Test { name: "fuzz::arbitrary_files_of_the_store", seconds: 3600, body: store },
];

/// Peak of the worker's resident memory that may be reached, in KiB.
const MEMORY_KIB: u64 = 256 << 10;

/// How long to go on: `HSCI_FUZZ_SECONDS`, or a little while.
fn duration() -> Duration {
    let given = std::env::var("HSCI_FUZZ_SECONDS").ok();
    Duration::from_secs(given.map_or(15, |text| text.parse().expect("HSCI_FUZZ_SECONDS")) / 2)
}

/// Sound stored files to start from, of all codecs and forms.
fn seeds(dir: &Path) -> Vec<Vec<u8>> {
    let mut mount = Mount::new(dir, "seeds", "compressfs", "chunk=32K,settle=10m");
    let mut random = Random::new(1);
    for (index, algorithm) in ["zstd:3", "zstd:19", "lz4", "deflate:6"].iter().enumerate() {
        let sizes = [5_000, 70_000, 300_000];
        for size in sizes {
            let name = format!("{index}-{size}");
            fs::write(mount.path(&name), random.bytes(size, true)).expect("write");
            let set = ["-n", "user.hsci.algorithm", "-v", algorithm];
            Run::new("setfattr").args(set).arg(mount.path(&name)).ok();
        }
    }
    mount.settle();
    for size in ["5000", "70000"] {
        let path = mount.path(&format!("0-{size}"));
        Run::shell(format!(
            "printf changed | dd of='{0}' bs=1 seek=4000 conv=notrunc,fsync \
             status=none; cp '{0}' '{0}-log'",
            path.display()
        ))
        .ok();
    }
    mount.unmount();
    let stored = fs::read_dir(mount.lower()).expect("list").flatten();
    let stored = stored.filter(|entry| entry.path().is_file());
    stored.map(|entry| fs::read(entry.path()).expect("read")).collect()
}

/// One change, or a few, of the kinds that damage makes and that break parsers.
fn mutate(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len() as u64) as usize].clone();
    for _ in 0..1 + random.skewed(3) {
        let at = random.below(bytes.len().max(1) as u64) as usize;
        let len = (1 + random.skewed(9) as usize).min(bytes.len() - at.min(bytes.len()));
        match random.below(7) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] = random.bits() as u8,
            2 => bytes[at..at + len].fill(if random.once_in(2) { 0 } else { 0xFF }),
            3 => drop(bytes.drain(at..at + len)),
            4 => {
                let other = &seeds[random.below(seeds.len() as u64) as usize];
                let from = random.below(other.len().max(1) as u64) as usize;
                bytes.splice(at..at, other.iter().skip(from).take(len).copied());
            }
            5 if at + 8 <= bytes.len() => {
                let value = u64::MAX >> random.below(64);
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            _ if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes
}

fn files(dir: &Path) {
    let mut random = Random::new(Random::seed("fuzz"));
    let seeds = seeds(dir);
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=50ms");
    mount.unmount();
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < duration() {
        for number in 0..300 {
            let bytes = match random.below(10) {
                0 => {
                    let len = random.skewed(16) as usize;
                    random.bytes(len, false)
                }
                _ => mutate(&mut random, &seeds),
            };
            fs::write(mount.lower().join(number.to_string()), bytes).expect("write");
            count += 1;
        }
        let check = mount::hsci(["check"], mount.lower());
        assert!([0, 1].contains(&check.code), "check: {} {}", check.code, check.err);
        mount.mount();
        use_all(&mount, &mut random);
        assert!(peak_memory(&mount) < MEMORY_KIB, "the worker has used {}", peak_memory(&mount));
        mount.unmount_damaged();
    }
    println!("{count} files");
}

/// Reads, writes and settles all files: each call succeeds or fails, and the mount goes on.
fn use_all(mount: &Mount, random: &mut Random) {
    use std::os::unix::fs::FileExt as _;
    for number in 0..300 {
        let path = mount.path(&number.to_string());
        let size = fs::metadata(&path).map_or(0, |meta| meta.len());
        let Ok(file) = fs::File::options().read(true).write(true).open(&path) else { continue };
        let mut buffer = vec![0; 1 << 16];
        for at in [0, size / 2, size.saturating_sub(1), size] {
            let _ = file.read_at(&mut buffer, at);
        }
        match random.below(4) {
            0 => drop(file.write_at(b"changed", random.below(size.max(1)))),
            1 => drop(file.set_len(random.below(size.clamp(1, 1 << 24)))),
            2 => drop(file.sync_data()),
            _ => {}
        }
    }
    let settled = mount::hsci(["settle"], mount.dir());
    assert!([0, 1].contains(&settled.code), "settle: {} {}", settled.code, settled.err);
    fs::write(mount.path("alive"), "alive").expect("the mount is alive");
    assert_eq!(fs::read(mount.path("alive")).expect("read"), b"alive");
}

/// The peak of resident memory of the largest extension process that serves the mount, in KiB.
fn peak_memory(mount: &Mount) -> u64 {
    let peak = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|text| text.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
    };
    let workers = machine::workers(mount.lower());
    assert!(!workers.is_empty(), "the worker is gone");
    workers.into_iter().map(peak).max().unwrap_or(0)
}

/// The files that the host and the extension keep for themselves, replaced by noise.
fn store(dir: &Path) {
    let mut random = Random::new(Random::seed("fuzz of the store"));
    let mut mount = Mount::new(dir, "mount", "compressfs", "settle=10m");
    fs::write(mount.path("file"), "content".repeat(10_000)).expect("write");
    let run = Run::new(machine::hsci()).args(["algorithm", "set", "lz4"]);
    run.arg(mount.dir()).ok();
    mount.unmount();
    let corner = mount.lower().join(".hsci/compressfs");
    let started = Instant::now();
    let mut mounted = 0;
    let mut refused = 0;
    while started.elapsed() < duration() {
        for name in ["choices", "journal", "journal-1", "anything"] {
            let seed = fs::read(corner.join(name)).unwrap_or_else(|_| b"1000 lz4\n".to_vec());
            let bytes = mutate(&mut random, &[seed, b"{\"0\":\"zstd:3\"}".to_vec()]);
            fs::write(corner.join(name), bytes).expect("write");
        }
        let run = Run::new(machine::hsci()).arg("mount").arg(mount.lower()).arg(mount.dir());
        let done = run.done();
        if done.code == 0 {
            let content = fs::read(mount.path("file")).expect("read");
            assert_eq!(content, "content".repeat(10_000).into_bytes());
            mount::hsci(["unmount"], mount.dir()).ok();
            mounted += 1;
        } else {
            done.fails(6, &[]);
            refused += 1;
        }
    }
    println!("mounted {mounted} times, refused {refused} times");
}

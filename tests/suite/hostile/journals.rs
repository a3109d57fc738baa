//! Journals that say what their author wants, in a store that is the host's own otherwise.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use hsci_tests::{Mount, Random, Run, Test, machine};

use super::forger::{self, Entry};
use super::{Victim, ended, limited};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "hostile::forged_journals_reach_nothing_outside", seconds: 600, body: forged },
    Test {
        name: "hostile::journals_by_a_fuzzer_that_gets_checksums_right",
        seconds: 600,
        body: fuzz,
    },
];

/// A store of root's, a place to mount it, and what must not change.
struct Rig {
    mount: Mount,
    victim: Victim,
    image: Vec<u8>,
}

impl Rig {
    fn new(dir: &Path) -> Self {
        machine::need_root();
        let victim = Victim::new(dir);
        let image = forger::image(dir);
        let mut mount = Mount::new(dir, "mount", "compressfs", "settle=10m");
        for number in 0..4 {
            fs::write(mount.path(&number.to_string()), "text\n".repeat(20_000)).expect("write");
        }
        mount.unmount();
        Self { mount, victim, image }
    }

    fn handle(&self, name: &str) -> Vec<u8> {
        forger::handle(&self.mount.lower().join(name))
    }

    /// Mounts with a journal; returns whether that worked.
    fn attempt(&self, name: &str, journal: &[u8]) -> bool {
        let path = self.mount.lower().join(".hsci/compressfs/journal-forged");
        fs::write(&path, journal).expect("write");
        Run::new("chmod").arg("600").arg(&path).ok();
        let used = used(self.mount.lower());
        for arguments in [["mount", "-o", "ro,scan=no"], ["mount", "-o", "rw,scan=no"]] {
            let done = limited(arguments, &[self.mount.lower(), self.mount.dir()]);
            ended(name, &done, self.mount.dir());
            if arguments[2].starts_with("rw") {
                self.victim.check(name);
                let grown = used_since(self.mount.lower(), used);
                // The journal itself may be written once more, and what it holds into a file.
                let most = 4 * journal.len() as u64 + (1 << 20);
                assert!(grown <= most, "{name}: {grown} bytes more than before");
                clear(self.mount.lower());
                return done.code == 0;
            }
        }
        unreachable!("the last is read-write")
    }
}

fn used(lower: &Path) -> u64 {
    let files = walkdir::WalkDir::new(lower).into_iter().flatten();
    files.map(|file| file.metadata().map_or(0, |stat| stat.blocks() * 512)).sum()
}

fn used_since(lower: &Path, before: u64) -> u64 {
    used(lower).saturating_sub(before)
}

fn clear(lower: &Path) {
    for entry in fs::read_dir(lower.join(".hsci/compressfs")).expect("list").flatten() {
        if entry.file_name().to_string_lossy().starts_with("journal-") {
            fs::remove_file(entry.path()).expect("remove");
        }
    }
}

fn forged(dir: &Path) {
    let rig = Rig::new(dir);
    let len = rig.image.len() as u64;
    let outside = forger::handle(&rig.victim.path);
    let inside = rig.handle("0");
    let entry = |handle: &[u8], base, len| {
        let handle = handle.to_vec();
        Entry { handle, base, len, at: 0, log_len: 0 }
    };
    let original = fs::read(rig.mount.lower().join("0")).expect("read");
    let mut attempts = 0;
    let mut attempt = |name: &str, journal: &[u8]| {
        attempts += 1;
        rig.attempt(name, journal)
    };
    for version in [1, 2, 3, 4, 0] {
        let journal =
            |payload: &[u8], entries: &[Entry]| forger::journal(version, 7, payload, entries);
        let named = |name: &str| format!("version {version}: {name}");
        attempt(&named("outside"), &journal(&rig.image, &[entry(&outside, 0, len)]));
        let both = [entry(&inside, 0, len), entry(&outside, len, len)];
        let twice = [&rig.image[..], &rig.image].concat();
        attempt(&named("outside, after one inside"), &journal(&twice, &both));
        for handle in [&[][..], &[0; 3], &[0xFF; 200], &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]] {
            attempt(&named("no handle"), &journal(&rig.image, &[entry(handle, 0, len)]));
        }
        let overlapping = [entry(&inside, 0, len), entry(&outside, 8, len - 8)];
        attempt(&named("overlapping"), &journal(&rig.image, &overlapping));
        for (at, log_len) in [(4096, 0), (u64::MAX, 0), (0, 4096), (0, u64::MAX), (1 << 62, 8192)] {
            let placed = Entry { at, log_len, ..entry(&inside, 0, len) };
            attempt(&named("after nothing, or with no log"), &journal(&twice, &[placed]));
            fs::write(rig.mount.lower().join("0"), &original).expect("as before");
        }
        let same = [entry(&inside, 0, len), entry(&inside, len, len)];
        attempt(&named("one file twice"), &journal(&twice, &same));
        for (base, len) in [(0, len + 1), (u64::MAX, 2), (1, u64::MAX), (0, 1 << 40)] {
            attempt(&named("no such image"), &journal(&rig.image, &[entry(&inside, base, len)]));
        }
    }
    // What is inside must be an image, whole, before anything is written.
    let before = fs::read(rig.mount.lower().join("0")).expect("read");
    let entries = [entry(&inside, 0, len)];
    for at in [0, 20, 64, len as usize / 2, len as usize - 1] {
        let mut broken = rig.image.clone();
        broken[at] ^= 0x10;
        attempt(&format!("a flipped bit at {at}"), &forger::journal(2, 7, &broken, &entries));
        let whole = rig.image.len() / 2 != at;
        let now = fs::read(rig.mount.lower().join("0")).expect("read");
        // Half of a chunk is wrong: nothing of it is written.
        assert!(whole || now == before, "a damaged image was written");
        fs::write(rig.mount.lower().join("0"), &before).expect("as before");
    }
    attempt("text for an image", &forger::journal(2, 7, &[b'x'; 5000], &[entry(&inside, 0, 5000)]));
    assert!(fs::read(rig.mount.lower().join("0")).expect("read") == before, "text is no image");
    assert!(attempt("a sound one", &forger::journal(2, 7, &rig.image, &entries)));
    assert!(fs::read(rig.mount.lower().join("0")).expect("read") == rig.image, "it is installed");
    sparse(&rig);
    println!("{attempts} attempts");
    assert!(attempts >= 50, "{attempts} attempts");
}

/// A journal of next to nothing that claims 400 MiB.
fn sparse(rig: &Rig) {
    let claimed: u64 = 400 << 20;
    let path = rig.mount.lower().join(".hsci/compressfs/journal-sparse");
    let file = fs::File::create(&path).expect("create");
    let mut record = 7_u64.to_le_bytes().to_vec();
    let handle = rig.handle("1");
    record.extend((handle.len() as u16).to_le_bytes());
    record.extend(&handle);
    record.extend(0_u64.to_le_bytes());
    record.extend(claimed.to_le_bytes());
    record.extend([0; 45]);
    file.write_all_at(&rig.image, 0).expect("write");
    file.write_all_at(&record, claimed).expect("write");
    let footer = forger::footer(2, 1, claimed, &record);
    file.write_all_at(&footer, claimed + record.len() as u64).expect("write");
    Run::new("chmod").arg("600").arg(&path).ok();
    let before = used(rig.mount.lower());
    let done = limited(["mount"], &[rig.mount.lower(), rig.mount.dir()]);
    ended("sparse", &done, rig.mount.dir());
    let grown = used_since(rig.mount.lower(), before);
    assert!(grown < 4 << 20, "{grown} bytes were written");
    clear(rig.mount.lower());
}

fn fuzz(dir: &Path) {
    let rig = Rig::new(dir);
    let mut random = Random::new(Random::seed("journals"));
    let handles = [forger::handle(&rig.victim.path), rig.handle("0"), rig.handle("1")];
    let started = std::time::Instant::now();
    let mut count = 0;
    while started.elapsed().as_secs() < machine::amount("HSCI_JOURNAL_SECONDS", 12) {
        let mut payload = Vec::new();
        for _ in 0..random.below(3) {
            payload.extend(&rig.image);
        }
        if !payload.is_empty() && random.once_in(2) {
            let at = random.below(payload.len() as u64) as usize;
            payload[at] ^= 1 << random.below(8);
        }
        let len = rig.image.len() as u64;
        let number = |random: &mut Random| match random.below(4) {
            0 => 0,
            1 => len,
            2 => random.below(2 * len + 1),
            _ => u64::MAX >> random.below(64),
        };
        let entries: Vec<Entry> = (0..random.below(4))
            .map(|_| {
                let mut handle = handles[random.below(3) as usize].clone();
                if random.once_in(4) {
                    let at = random.below(handle.len() as u64) as usize;
                    handle[at] ^= 1 << random.below(8);
                }
                let (base, len) = (number(&mut random), number(&mut random));
                let (at, log_len) = (number(&mut random), number(&mut random));
                let placed = random.once_in(3);
                let (at, log_len) = if placed { (at, log_len) } else { (0, 0) };
                Entry { handle, base, len, at, log_len }
            })
            .collect();
        let version = 1 + random.below(3) as u32;
        let epoch = random.bits();
        rig.attempt("fuzz", &forger::journal(version, epoch, &payload, &entries));
        count += 1;
    }
    println!("{count} journals");
}

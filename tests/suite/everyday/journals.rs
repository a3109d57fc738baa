//! Journals that cannot be installed whole: who mounts the store is told, and nothing is lost.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hsci_tests::{Mount, Run, Test, machine};

use crate::hostile::forger::{self, Entry};

pub(crate) const TESTS: &[Test] = &[Test {
    name: "everyday::journals::what_cannot_be_installed_is_named_with_the_way_out",
    seconds: 120,
    body: named,
}];

/// What the forged image holds.
fn new_content() -> String {
    "the forger's words\n".repeat(5000)
}

struct Rig {
    mount: Mount,
}

impl Rig {
    /// A store with a journal for two of its files, of which one is immutable.
    fn new(dir: &Path) -> Self {
        let image = forger::image(dir);
        let mut mount = Mount::new(dir, "mount", "compressfs", "settle=1h,scan=no");
        fs::create_dir(mount.path("sub")).expect("a directory");
        for name in ["sub/fixed", "free", "untouched"] {
            fs::write(mount.path(name), "old\n".repeat(20_000)).expect("written");
        }
        mount.unmount();
        let len = image.len() as u64;
        let entry = |name: &str, base| {
            let handle = forger::handle(&mount.lower().join(name));
            Entry { handle, base, len, at: 0, log_len: 0 }
        };
        let second = len.next_multiple_of(4096);
        let mut payload = image.clone();
        payload.resize(second as usize, 0);
        payload.extend(&image);
        let entries = [entry("sub/fixed", 0), entry("free", second)];
        let journal = mount.lower().join(".hsci/compressfs/journal-1");
        fs::write(&journal, forger::journal(2, 7, &payload, &entries)).expect("a journal");
        Run::new("chmod").arg("600").arg(journal).ok();
        let rig = Self { mount };
        if !rig.chattr("+i") {
            hsci_tests::skip("chattr is refused here");
        }
        rig
    }

    fn chattr(&self, flag: &str) -> bool {
        Run::new("chattr").arg(flag).arg(self.mount.lower().join("sub/fixed")).done().code == 0
    }

    /// Mounts; returns what is said of that.
    fn mount(&mut self) -> String {
        let run = Run::new(machine::hsci()).args(["mount", "-o", "settle=1h,scan=no"]);
        let done = run.arg(self.mount.lower()).arg(self.mount.dir()).done();
        assert_eq!(done.code, 0, "{}", done.err);
        self.mount.is_mounted();
        done.err
    }

    fn reads(&self, name: &str, content: &str) {
        let found = fs::read_to_string(self.mount.path(name)).expect("read");
        assert!(found == content, "{name}: {} bytes", found.len());
    }

    fn journals(&self) -> usize {
        let names = fs::read_dir(self.mount.lower().join(".hsci/compressfs")).expect("the store");
        let names = names.flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with("journal-")).count()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.chattr("-i");
    }
}

fn named(dir: &Path) {
    machine::need_root();
    machine::need("chattr");
    let mut rig = Rig::new(dir);
    let check = Run::new(machine::hsci()).arg("check").arg(rig.mount.lower()).done();
    for part in ["sub/fixed", "chattr -i"] {
        assert!(check.out.contains(part) || check.err.contains(part), "{check:?}");
    }
    // Twice: what is named once is not forgotten.
    for _ in 0..2 {
        let said = rig.mount();
        for part in ["sub/fixed", "journal", "chattr -i"] {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
        assert!(!said.contains("free") && !said.contains("untouched"), "only that: {said}");
        let status = rig.mount.status();
        let notices = status["notices"].as_array().expect("notices").clone();
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].as_str().is_some_and(|text| text.starts_with("sub/fixed: ")));
        let shown = rig.mount.hsci(["status"]).ok();
        assert!(shown.contains("sub/fixed") && shown.contains("chattr -i"), "{shown}");
        rig.reads("sub/fixed", &new_content());
        rig.reads("free", &new_content());
        assert_eq!(rig.journals(), 1, "the image stays");
        rig.mount.unmount();
    }
    // The way out.
    assert!(rig.chattr("-i"));
    let said = rig.mount();
    assert_eq!(said, "", "there is nothing to say any more");
    assert_eq!(rig.journals(), 0, "the image is in its file");
    rig.reads("sub/fixed", &new_content());
    rig.mount.unmount();
    rig.mount.check();
    changed(dir);
}

/// A file that somebody has changed without the mount keeps that, and it is said.
fn changed(dir: &Path) {
    let other = dir.join("changed");
    fs::create_dir(&other).expect("a directory");
    let mut rig = Rig::new(&other);
    rig.mount();
    rig.mount.unmount();
    assert!(rig.chattr("-i"));
    let path = rig.mount.lower().join("sub/fixed");
    let inode = fs::metadata(&path).expect("stat").ino();
    fs::write(&path, "by hand\n").expect("written");
    assert_eq!(fs::metadata(&path).expect("stat").ino(), inode);
    let said = rig.mount();
    assert!(said.contains("sub/fixed") && said.contains("not mounted"), "{said}");
    rig.reads("sub/fixed", "by hand\n");
    assert_eq!(rig.journals(), 0);
    rig.mount.unmount();
    assert_eq!(rig.mount(), "", "it is said once");
    rig.mount.unmount();
    rig.mount.check();
}

//! Other file systems below, and programs that came to the files without the mount.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use hsci_tests::{Mount, Run, machine};

use super::{LINE, Unmounted, is_smaller, text};

/// An overlay over an overlay, with layers on ext4 and tmpfs.
pub(super) fn stacked_below(dir: &Path) {
    machine::need_root();
    let (image, disk, memory) = (dir.join("image"), dir.join("disk"), dir.join("memory"));
    let _disk = machine::loop_file_system("ext4", 64 << 20, &image, &disk);
    std::fs::create_dir(&memory).expect("a directory");
    if Run::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&memory).done().code != 0 {
        hsci_tests::skip("no tmpfs can be mounted");
    }
    let _memory = Unmounted(memory.clone());
    for name in ["one", "two", "up", "work"] {
        std::fs::create_dir_all(disk.join(name)).expect("a directory");
        std::fs::create_dir_all(memory.join(name)).expect("a directory");
    }
    let over = |lower: String, above: &Path, at: &Path| {
        std::fs::create_dir_all(at).expect("a directory");
        let above = above.display();
        let options = format!("lowerdir={lower},upperdir={above}/up,workdir={above}/work");
        let done =
            Run::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(at).done();
        if done.code != 0 {
            hsci_tests::skip(&format!("no overlay on that: {}", done.err.trim()));
        }
        Unmounted(at.to_owned())
    };
    std::fs::write(disk.join("one/from-disk"), text(5000)).expect("written");
    std::fs::write(memory.join("two/from-memory"), text(5000)).expect("written");
    let (first, second) = (dir.join("first"), dir.join("second"));
    let lowers = format!("{}/one:{}/two", disk.display(), memory.display());
    let _first = over(lowers, &disk, &first);
    let _second = over(first.display().to_string(), &memory, &second);
    for (number, store) in [&first, &second].into_iter().enumerate() {
        let shown = dir.join(format!("shown{number}"));
        std::fs::create_dir(&shown).expect("a directory");
        let mut mount = Mount::at(store, &shown, "compressfs", "settle=1h");
        std::fs::write(mount.path("new"), text(5000)).expect("written");
        mount.settle();
        for name in ["from-disk", "from-memory", "new"] {
            assert!(is_smaller(&mount, name), "{}: {name}", store.display());
        }
        let mut file =
            OpenOptions::new().append(true).open(mount.path("from-disk")).expect("opened");
        file.write_all(LINE).expect("appended");
        drop(file);
        mount.remount();
        assert!(std::fs::read(mount.path("from-disk")).expect("read") == text(5001), "{store:?}");
        assert!(std::fs::read(mount.path("from-memory")).expect("read") == text(5000), "{store:?}");
        mount.settle();
        mount.unmount();
        mount.check();
        // The next one lies over this one, and is to find plain files.
        for name in ["from-disk", "from-memory", "new"] {
            std::fs::write(store.join(name), text(5000)).expect("written");
        }
        std::fs::remove_dir_all(store.join(".hsci")).expect("removed");
    }
}

pub(super) fn without_handles(dir: &Path) {
    machine::need_root();
    let base = dir.join("disk");
    std::fs::create_dir(&base).expect("a directory");
    let memory = Run::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&base).done();
    if memory.code != 0 {
        hsci_tests::skip("no tmpfs can be mounted");
    }
    let _memory = Unmounted(base.clone());
    for name in ["image", "upper", "work", "container", "ram", "store"] {
        std::fs::create_dir(base.join(name)).expect("a directory");
    }
    std::fs::create_dir(base.join("image/store")).expect("a directory");
    std::fs::write(base.join("image/store/old"), text(5000)).expect("written");
    let options = format!("lowerdir={0}/image,upperdir={0}/upper,workdir={0}/work", base.display());
    let container = base.join("container");
    Run::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&container).ok();
    let _container = Unmounted(container.clone());
    let ram = base.join("ram");
    Run::new("mount").args(["-t", "ramfs", "ramfs"]).arg(&ram).ok();
    let _ram = Unmounted(ram.clone());
    for (number, store) in [container.join("store"), ram, base.join("store")].iter().enumerate() {
        let shown = dir.join(format!("shown{number}"));
        std::fs::create_dir(&shown).expect("a directory");
        let mut mount = Mount::at(store, &shown, "compressfs", "settle=1h");
        std::fs::write(mount.path("new"), text(5000)).expect("written");
        mount.settle();
        let counts_space = !store.ends_with("ram");
        for name in ["old", "new"].iter().filter(|name| mount.path(name).exists() && counts_space) {
            assert!(is_smaller(&mount, name), "{}: {name}", store.display());
        }
        let mut file = OpenOptions::new().append(true).open(mount.path("new")).expect("opened");
        file.write_all(LINE).expect("appended");
        drop(file);
        mount.remount();
        assert!(std::fs::read(mount.path("new")).expect("read") == text(5001), "{store:?}");
        mount.settle();
        mount.unmount();
        mount.check();
    }
}

pub(super) fn open_elsewhere(dir: &Path) {
    machine::need_root();
    let store = dir.join("logs");
    std::fs::create_dir(&store).expect("a directory");
    let mut logger = File::create(store.join("app.log")).expect("a file");
    logger.write_all(&text(5000)).expect("written");
    let refused = Run::new(machine::hsci()).arg("mount").arg(&store).done();
    assert_eq!(refused.code, 5, "{}", refused.err);
    let me = std::process::id().to_string();
    assert!(refused.err.contains("app.log") && refused.err.contains(&me), "{}", refused.err);
    let options = ["mount", "--force", "-o", "settle=1"];
    Run::new(machine::hsci()).args(options).arg(&store).ok();
    let mut mount = Mount::adopt(&store, &store, "compressfs");
    std::fs::write(mount.path("other"), text(5000)).expect("written");
    for _ in 0..30 {
        logger.write_all(LINE).expect("written");
        std::thread::sleep(Duration::from_millis(100));
    }
    let settled = mount.hsci(["settle"]);
    assert_eq!(settled.code, 1, "it is not settled: {}", settled.err);
    let why = "hsci: app.log: in use: a program has had it open since before the mount\n";
    assert!(settled.err.contains(why), "{}", settled.err);
    assert!(is_smaller(&mount, "other"), "the others are");
    logger.write_all(LINE).expect("written");
    drop(logger);
    mount.remount();
    assert!(std::fs::read(mount.path("app.log")).expect("read") == text(5031), "no line is lost");
    mount.settle();
    assert!(is_smaller(&mount, "app.log"), "it is settled when nobody has it open");
    assert!(std::fs::read(mount.path("app.log")).expect("read") == text(5031));
    mount.unmount();
}

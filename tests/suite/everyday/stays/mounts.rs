//! Mounts that cannot store everything, or change under those who use them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use hsci_tests::{Mount, Run, machine};

use super::{LINE, is_smaller, text};

pub(super) fn unmount_refused(dir: &Path) {
    machine::need_root();
    machine::need("chattr");
    let mut mount = Mount::new(dir, "m", "compressfs", "settle=1h,commit=0");
    for name in ["kept", "given-up"] {
        std::fs::write(mount.path(name), text(5000)).expect("written");
    }
    mount.settle();
    let append = |name: &str| {
        let file = OpenOptions::new().append(true).open(mount.path(name));
        file.and_then(|mut file| file.write_all(LINE)).expect("appended");
    };
    let chattr =
        |flag: &str, name: &str| Run::new("chattr").arg(flag).arg(mount.lower().join(name)).done();
    append("kept");
    if chattr("+i", "kept").code != 0 {
        hsci_tests::skip("chattr is refused here");
    }
    let refused = mount.hsci(["unmount"]);
    let served = std::fs::read(mount.path("kept"));
    chattr("-i", "kept").ok();
    assert_eq!(refused.code, 7, "{}", refused.err);
    assert!(refused.err.contains("kept") && refused.err.contains("--force"), "{}", refused.err);
    assert!(served.expect("it is still served") == text(5001));
    append("given-up");
    chattr("+i", "given-up").ok();
    let forced = mount.hsci(["unmount", "--force"]);
    chattr("-i", "given-up").ok();
    assert_eq!(forced.code, 0, "{}", forced.err);
    assert!(forced.err.contains("given-up") && !forced.err.contains("kept"), "{}", forced.err);
    mount.mount();
    assert!(std::fs::read(mount.path("kept")).expect("read") == text(5001), "nothing is lost");
    mount.unmount();
    mount.check();
}

/// Bytes that no algorithm makes fewer.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub(super) fn full_store(dir: &Path) {
    let (image, lower) = (dir.join("image"), dir.join("disk"));
    let _disk = machine::loop_file_system("ext4", 96 << 20, &image, &lower);
    let (store, shown) = (lower.join("store"), dir.join("shown"));
    for made in [&store, &shown] {
        std::fs::create_dir_all(made).expect("a directory");
    }
    let mut mount = Mount::at(&store, &shown, "compressfs", "settle=1h,scan=no");
    for number in 0..8 {
        std::fs::write(mount.path(&format!("text{number}")), text(50_000)).expect("written");
    }
    let mut filler = File::create(mount.path("filler")).expect("a file");
    let noise = noise(64 << 10);
    while filler.write_all(&noise).is_ok() {}
    while filler.write_all(&noise[..4096]).is_ok() {}
    drop(filler);
    let free = || {
        let stat = rustix::fs::statvfs(&lower).expect("statvfs");
        stat.f_bavail * stat.f_frsize
    };
    assert!(free() < 1 << 20, "{} bytes are free", free());
    let _ = mount.hsci(["settle"]);
    assert!(free() > 16 << 20, "{} bytes are free", free());
    for number in 0..8 {
        let name = format!("text{number}");
        assert!(is_smaller(&mount, &name), "{name}");
        assert!(std::fs::read(mount.path(&name)).expect("read") == text(50_000), "{name}");
    }
    mount.unmount();
    mount.check();
}

pub(super) fn remount(dir: &Path) {
    machine::need_root();
    let mount = Mount::new(dir, "m", "nullfs", "nosuid");
    std::fs::write(mount.path("file"), b"before").expect("written");
    // As mount(8) calls its helper.
    let helper = |options: &str| {
        Run::new(machine::hsci()).arg(mount.lower()).arg(mount.dir()).args(["-o", options]).done()
    };
    helper("remount,ro").ok();
    let refused = std::fs::write(mount.path("file"), b"refused").map_err(|error| error.kind());
    assert_eq!(refused, Err(std::io::ErrorKind::ReadOnlyFilesystem));
    assert_eq!(std::fs::read(mount.path("file")).expect("read"), b"before");
    helper("remount,rw").ok();
    std::fs::write(mount.path("file"), b"after").expect("written");
    let flags = rustix::fs::statvfs(mount.dir()).expect("statvfs").f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::NOSUID), "all else stays");
    let read_only = Mount::new(dir, "r", "nullfs", "ro");
    let done = Run::new(machine::hsci())
        .arg(read_only.lower())
        .arg(read_only.dir())
        .args(["-o", "remount,rw"])
        .done();
    assert_eq!(done.code, 32, "{}", done.err);
    assert!(done.err.contains("read-only"), "{}", done.err);
}

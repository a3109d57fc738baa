//! What a program was told is written stays written, whatever ends a mount.

pub(crate) mod below;
pub(crate) mod ends;
pub(crate) mod grows;
pub(crate) mod journals;
pub(crate) mod shared;
pub(crate) mod stays;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use hsci_tests::{Mount, Test, machine};

pub(crate) const TESTS: &[Test] = &[Test {
    name: "everyday::a_full_disk_fails_no_fsync_and_no_overwrite",
    seconds: 120,
    body: full,
}];

const LINES: usize = 20;

/// A sealed file whose lines are known, with lines that nobody has synced.
fn written(mount: &Mount) -> String {
    let mut book = String::new();
    let path = mount.path("log");
    let mut file = OpenOptions::new().append(true).create(true).open(&path).expect("a file");
    let mut add = |file: &mut File, from: usize, to: usize| {
        for number in from..to {
            let line = format!("line {number} of the book, long enough to be worth compressing\n");
            file.write_all(line.as_bytes()).expect("a line");
            book.push_str(&line);
        }
    };
    add(&mut file, 0, 6000);
    mount.settle();
    add(&mut file, 7000, 7000 + LINES);
    book
}

/// On a full disk a write fails, and neither the fsync of what was acknowledged nor an overwrite of what
/// has its place.
fn full(dir: &Path) {
    machine::need_root();
    let (image, lower) = (dir.join("image"), dir.join("disk"));
    let _disk = machine::loop_file_system("ext4", 64 << 20, &image, &lower);
    let (store, shown) = (lower.join("store"), dir.join("shown"));
    for made in [&store, &shown] {
        std::fs::create_dir_all(made).expect("a directory");
    }
    let mut mount = Mount::at(&store, &shown, "compressfs", "settle=1h,commit=0");
    let mut book = written(&mount).into_bytes();
    let path = mount.path("log");
    fill(&lower.join("ballast"));
    let mut file = OpenOptions::new().append(true).open(&path).expect("a file");
    file.sync_all().expect("fsync of acknowledged lines on a full disk");
    let at = book.len() as u64 - 30;
    for round in 0..5_u8 {
        let over = [b'0' + round; 20];
        let writer = OpenOptions::new().write(true).open(&path).expect("a file");
        std::os::unix::fs::FileExt::write_all_at(&writer, &over, at).expect("an overwrite");
        writer.sync_all().expect("fsync of an overwrite");
        book[at as usize..][..20].copy_from_slice(&over);
    }
    // New lines may fail; those that do not are kept.
    for number in 0..2000 {
        let line = format!("line {number} on a full disk\n");
        if file.write_all(line.as_bytes()).is_err() {
            break;
        }
        book.extend(line.as_bytes());
        file.sync_all().expect("fsync of what was acknowledged");
    }
    drop(file);
    mount.unmount();
    std::fs::remove_file(lower.join("ballast")).expect("removed");
    mount.mount();
    let found = std::fs::read(&path).expect("the file");
    assert!(found.starts_with(&book), "{} of {} bytes", found.len(), book.len());
}

/// Takes all the space there is.
fn fill(path: &Path) {
    let mut ballast = File::create(path).expect("a file");
    for len in [1 << 20, 4096, 512] {
        while ballast.write_all(&vec![1; len]).is_ok() {}
        let _ = ballast.sync_all();
    }
}

//! Files that are written all the time, or again and again.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hsci_tests::{Mount, Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "everyday::grows::a_log_that_never_rests_is_compressed_while_it_grows",
        seconds: 200,
        body: never_quiet,
    },
    Test {
        name: "everyday::grows::other_programs_print_files_that_were_appended_to",
        seconds: 120,
        body: printed,
    },
    Test {
        name: "everyday::grows::what_is_longer_than_any_image_is_named",
        seconds: 120,
        body: too_long,
    },
];

/// The share of a file that may not be compressed yet, and what may not be in any case.
const SHARE: u64 = 16;
const NOT_YET: u64 = 32 << 20;

/// Lines as a server writes them.
fn lines(from: usize, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 100);
    for number in from.. {
        if text.len() >= len {
            break;
        }
        let (user, took) = (number * 7919 % 1000, number * 104_729 % 977);
        let line = format!(
            "2026-11-28T12:{:02}:{:02} host server[812]: user {user} GET /about.html 200 {took}\n",
            number / 60 % 60,
            number % 60,
        );
        text.extend(line.bytes());
    }
    text
}

fn space(path: &Path) -> u64 {
    std::fs::metadata(path).expect("stat").blocks() * 512
}

/// Bytes that the worker of a mount has written so far.
fn written_by(mount: &Mount) -> u64 {
    let worker = mount.status()["worker_pid"].as_u64().expect("a process");
    let counts = std::fs::read_to_string(format!("/proc/{worker}/io")).expect("counts");
    let count = counts.lines().find_map(|line| line.strip_prefix("wchar: "));
    count.expect("a count").parse().expect("a number")
}

/// Some MiB a second, for as long as it takes; the writer has the file open all the time.
fn never_quiet(dir: &Path) {
    machine::need_root();
    machine::need("zstdcat");
    let mut mount = Mount::new(dir, "logs", "compressfs", "settle=300ms");
    let plain = dir.join("plain");
    let mut files =
        [File::create(mount.path("log")), File::create(&plain)].map(|file| file.expect("a file"));
    let before = written_by(&mount);
    let (begun, mut number, mut len) = (Instant::now(), 0, 0);
    // 12 times the quiet time, and then until two segments are there.
    let segments = |mount: &Mount| {
        let usage = mount.hsci(["usage", "--json"]).ok();
        usage.contains("\"log\"") && space(&mount.lower().join("log")) < space(&plain) / 2
    };
    while len < 160 << 20 || !segments(&mount) {
        let text = lines(number, 1 << 20);
        number += 10_000;
        len += text.len() as u64;
        files.iter_mut().for_each(|file| file.write_all(&text).expect("written"));
        assert!(begun.elapsed() < Duration::from_secs(150), "it is not compressed");
        std::thread::sleep(Duration::from_millis(150));
    }
    let below = written_by(&mount) - before;
    let stored = space(&mount.lower().join("log"));
    // What the segments hold so far is at least this dense.
    let dense: u64 = Run::shell(format!("zstd -3 -c {} | wc -c", plain.display()))
        .ok()
        .trim()
        .parse()
        .expect("a number");
    let ratio = below as f64 / len as f64;
    println!(
        "{len} bytes, {stored} stored, {dense} by zstd -3; {ratio:.2} bytes written below for each"
    );
    let allowed = dense * 11 / 10 + (64 << 20).max(len / 10);
    assert!(
        stored <= allowed.min(dense * 11 / 10 + 2 * NOT_YET.max(len / SHARE)),
        "{stored} bytes stored"
    );
    // What a seal has cost that the writer outran, on a busy machine, comes on top of the figure.
    assert!(ratio <= 1.8, "{ratio} bytes written below for each");
    let same = |mount: &Mount| Run::new("cmp").arg(mount.path("log")).arg(&plain).ok();
    same(&mount);
    // Others print what is sealed, and end at the log.
    let printed = Run::shell(format!(
        "zstd -dc {}/log 2>/dev/null | cmp - {} 2>&1",
        mount.lower().display(),
        plain.display()
    ))
    .done();
    let is_all = printed.code == 0;
    assert!(is_all || printed.out.contains("EOF on -"), "{} {}", printed.out, printed.err);
    drop(files);
    mount.settle();
    same(&mount);
    Run::shell(format!("zstdcat {}/log | cmp - {}", mount.lower().display(), plain.display())).ok();
    mount.remount();
    same(&mount);
    mount.unmount();
    mount.check();
}

fn printed(dir: &Path) {
    for (algorithm, program) in
        [("zstd:3", "zstdcat"), ("lz4", "lz4 -dc"), ("deflate:6", "gzip -dc")]
    {
        machine::need(program.split(' ').next().expect("a word"));
        let mut mount = Mount::new(dir, algorithm, "compressfs", &format!("algorithm={algorithm}"));
        let mut expected = Vec::new();
        let (mut first, mut spent) = (0, 0);
        for round in 0..6 {
            let text = lines(round * 100_000, if round == 0 { 20 << 20 } else { 70_000 });
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(mount.path("log"))
                .expect("a file");
            file.write_all(&text).expect("written");
            drop(file);
            expected.extend(text);
            let before = written_by(&mount);
            mount.settle();
            // The first append takes what is not a full chunk out of the image.
            match round {
                0 => first = written_by(&mount) - before,
                1 => {}
                _ => spent += written_by(&mount) - before,
            }
        }
        let image = space(&mount.lower().join("log"));
        let ratio = first as f64 / image as f64;
        println!(
            "{algorithm}: {ratio:.2} bytes written for each of an image, {spent} for four appends"
        );
        assert!(ratio <= 2.1, "{algorithm}: {ratio} bytes written for each of the image");
        assert!(spent < image / 2, "{algorithm}: {spent} bytes for four appends to {image}");
        assert!(std::fs::read(mount.path("log")).expect("read") == expected, "{algorithm}");
        std::fs::write(dir.join("expected"), &expected).expect("written");
        let line = format!(
            "{program} < '{}'/log | cmp - {}/expected",
            mount.lower().display(),
            dir.display()
        );
        Run::shell(line).ok();
        mount.unmount();
        mount.check();
    }
}

/// A settle and the status name a file that stays as it is for its length, as long as it has that.
fn too_long(dir: &Path) {
    let mount = Mount::new(dir, "mount", "compressfs", "settle=1h");
    let path = mount.path("huge");
    let mut file = File::create(&path).expect("a file");
    file.write_all(&lines(0, 100_000)).expect("lines");
    if file.set_len(5 << 40).is_err() {
        hsci_tests::skip("no file of 5 TiB can be made below");
    }
    let notice = "huge: it stays as it is stored, for no image holds more than 4 TiB";
    for _ in 0..2 {
        let done = mount.hsci(["settle"]);
        assert_eq!((done.code, &*done.err), (0, &*format!("hsci: {notice}\n")), "{}", done.out);
        assert_eq!(mount.status()["notices"], serde_json::json!([notice]));
    }
    file.set_len(100_000).expect("shorter");
    let done = mount.hsci(["settle"]);
    assert_eq!((done.code, &*done.err), (0, ""), "{}", done.out);
    assert!(file.metadata().expect("metadata").blocks() < 100, "it is compressed");
}

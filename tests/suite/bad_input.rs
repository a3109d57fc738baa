//! What cannot work fails with a documented code and one line that names the thing and the way out,
//! and leaves nothing half-mounted.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hsci_tests::command::{ALICE, Done};
use hsci_tests::{Mount, Run, Test, machine, mount, sys};
use rustix::io::Errno;

pub(crate) const TESTS: &[Test] = &[
    Test { name: "bad_input::unknown_extension_or_option", seconds: 60, body: unknown },
    Test { name: "bad_input::lower_directory_missing_or_wrong", seconds: 60, body: lower },
    Test { name: "bad_input::lower_directory_not_writable", seconds: 60, body: not_writable },
    Test { name: "bad_input::mount_point_missing_or_busy", seconds: 60, body: mount_point },
    Test { name: "bad_input::no_dev_fuse", seconds: 60, body: no_dev_fuse },
    Test { name: "bad_input::no_fusermount3", seconds: 60, body: no_fusermount3 },
    Test { name: "bad_input::store_newer_or_damaged", seconds: 60, body: store },
    Test { name: "bad_input::second_host_on_one_store", seconds: 60, body: second_host },
    Test { name: "bad_input::unmount_while_busy", seconds: 60, body: busy },
    Test { name: "bad_input::reserved_names", seconds: 60, body: reserved },
    Test { name: "bad_input::longest_names_and_paths", seconds: 60, body: longest },
    Test { name: "bad_input::extension_of_a_newer_contract", seconds: 60, body: newer_contract },
    Test { name: "bad_input::secret_that_cannot_be_read", seconds: 60, body: unreadable_secret },
    Test { name: "bad_input::what_is_no_file_keeps_nobody_waiting", seconds: 120, body: no_file },
    Test { name: "bad_input::name_that_is_taken", seconds: 60, body: taken_name },
    Test { name: "bad_input::worker_that_cannot_start", seconds: 60, body: broken_program },
];

const USAGE: i32 = 2;
const IMPOSSIBLE: i32 = 3;
const MISSING: i32 = 4;
const IN_USE: i32 = 5;
const STORE: i32 = 6;

/// A lower directory with a file in it, and a mount point.
struct Place {
    lower: PathBuf,
    point: PathBuf,
}

impl Place {
    fn new(dir: &Path) -> Self {
        let place = Self { lower: dir.join("lower"), point: dir.join("mount") };
        fs::create_dir_all(&place.lower).expect("lower directory");
        fs::create_dir_all(&place.point).expect("mount point");
        fs::write(place.lower.join("file"), "content").expect("file");
        place
    }

    /// `hsci mount ARGUMENTS LOWER POINT`.
    fn mount(&self, arguments: &[&str]) -> Done {
        let run = Run::new(machine::hsci()).arg("mount").args(arguments);
        run.arg(&self.lower).arg(&self.point).done()
    }

    /// Checks that nothing is mounted, nothing serves, and nothing was lost.
    fn is_untouched(&self) {
        let table = fs::read_to_string("/proc/self/mountinfo").expect("mount table");
        let point = self.point.to_string_lossy().into_owned();
        assert!(!table.contains(&point), "something is mounted at {point}");
        let name = self.lower.as_os_str().as_bytes();
        let serving = processes_with(name);
        assert!(serving.is_empty(), "processes left: {serving:?}");
        if self.lower.is_dir() {
            let content = fs::read(self.lower.join("file")).expect("file");
            assert_eq!(content, b"content");
        }
    }

    fn refuses(&self, arguments: &[&str], code: i32, words: &[&str]) {
        self.mount(arguments).fails(code, words);
        self.is_untouched();
    }
}

/// Command lines of other processes that hold the given bytes; those that just end are given a
/// second.
fn processes_with(name: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for _ in 0..20 {
        let own = std::process::id().to_string();
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let others = processes.filter(|entry| entry.file_name().as_bytes() != own.as_bytes());
        let lines = others.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let holds = |line: &Vec<u8>| line.windows(name.len()).any(|part| part == name);
        found = lines
            .filter(holds)
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains("hsci-extension") || line.contains("supervise"))
            .collect();
        if found.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    found
}

fn unknown(dir: &Path) {
    let place = Place::new(dir);
    place.refuses(&["--extension", "compresfs"], USAGE, &["compresfs", "compressfs"]);
    place.refuses(&["-o", "algoritm=lz4"], USAGE, &["algoritm", "algorithm"]);
    place.refuses(&["-o", "algorithm=zstd:23"], USAGE, &["zstd:23", "22"]);
    place.refuses(&["-o", "algorithm=deflate:10"], USAGE, &["deflate:10", "9"]);
    place.refuses(&["-o", "algorithm=brotli"], USAGE, &["brotli", "zstd"]);
    place.refuses(&["-o", "chunk=1K"], USAGE, &["chunk=1K"]);
    place.refuses(&["-o", "settle=never"], USAGE, &["settle=never"]);
    place.refuses(&["-o", "cache=soon"], USAGE, &["cache=soon"]);
    place.refuses(&["--extension", "nullfs", "-o", "chunk=64K"], USAGE, &["chunk"]);
    let mount = Mount::at(&place.lower, &place.point, "compressfs", "");
    for text in ["zstd:23", "brotli", "lz4:3", ""] {
        mount::hsci(["algorithm", "set", text], mount.dir()).fails(USAGE, &[]);
    }
}

fn lower(dir: &Path) {
    let mut place = Place::new(dir);
    let real = place.lower.clone();
    place.lower = dir.join("nothing");
    place.refuses(&[], MISSING, &["nothing"]);
    place.lower = real.join("file");
    place.mount(&[]).fails(MISSING, &["file", "directory"]);
    for command in ["check", "status", "settle", "usage"] {
        mount::hsci([command], &dir.join("nothing")).fails(MISSING, &["nothing"]);
    }
    let export = mount::hsci(["export"], &real);
    assert_eq!(export.code, USAGE, "{}", export.err);
    let export = Run::new(machine::hsci()).arg("export").arg(&real).args(["missing"]);
    export.arg(dir.join("out")).done().fails(MISSING, &["missing"]);
}

fn not_writable(dir: &Path) {
    machine::need_root();
    machine::open_dev_fuse(dir);
    let place = Place::new(dir);
    let run = Run::as_user(ALICE, machine::hsci()).arg("mount").arg(&place.lower);
    let done = run.arg(&place.point).done();
    assert!([IMPOSSIBLE, MISSING].contains(&done.code), "{} {}", done.code, done.err);
    done.fails(done.code, &[]);
    place.is_untouched();
}

fn mount_point(dir: &Path) {
    let mut place = Place::new(dir);
    let real = place.point.clone();
    place.point = dir.join("nowhere");
    place.refuses(&[], MISSING, &["nowhere"]);
    place.point = place.lower.join("inside");
    fs::create_dir(&place.point).expect("directory");
    place.refuses(&[], USAGE, &["inside"]);
    place.point = real;
    let mount = Mount::at(&place.lower, &place.point, "nullfs", "");
    let other = dir.join("other");
    fs::create_dir(&other).expect("directory");
    let again = Run::new(machine::hsci()).arg("mount").arg(&other).arg(&place.point).done();
    again.fails(IN_USE, &["mount"]);
    drop(mount);
    place.is_untouched();
    mount::hsci(["unmount"], &place.point).fails(MISSING, &["mount"]);
}

fn no_dev_fuse(dir: &Path) {
    machine::need_root();
    sys::own_mounts();
    let place = Place::new(dir);
    let null = "mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3";
    Run::shell(null).ok();
    place.refuses(&[], IMPOSSIBLE, &["/dev/fuse"]);
}

fn no_fusermount3(dir: &Path) {
    machine::need_root();
    machine::open_dev_fuse(dir);
    let place = Place::new(dir);
    Run::new("chown").args(["-R", &ALICE.to_string()]).args([&place.lower, &place.point]).ok();
    if let Some(program) = machine::find("fusermount3") {
        Run::new("mount").args(["--bind", "/dev/null"]).arg(program).ok();
    }
    let run = Run::as_user(ALICE, machine::hsci()).arg("mount").arg(&place.lower);
    run.arg(&place.point).done().fails(IMPOSSIBLE, &["fusermount3"]);
    place.is_untouched();
}

fn store(dir: &Path) {
    let place = Place::new(dir);
    drop(Mount::at(&place.lower, &place.point, "compressfs", ""));
    let file = place.lower.join(".hsci/store");
    let sound = fs::read_to_string(&file).expect("the store's file");
    let newer = sound.replace("\"format\":3", "\"format\":9999");
    assert_ne!(newer, sound, "the store's file says its format: {sound}");
    for (text, word) in [(newer.as_str(), "9999"), ("{\"extension\":", "store"), ("", "store")] {
        fs::write(&file, text).expect("write");
        place.refuses(&[], STORE, &[word]);
        mount::hsci(["check"], &place.lower).fails(STORE, &[word]);
    }
    fs::write(&file, sound.replace("compressfs", "otherfs")).expect("write");
    place.mount(&[]).fails(STORE, &["otherfs"]);
    fs::write(&file, sound).expect("write");
    drop(Mount::at(&place.lower, &place.point, "compressfs", ""));
    place.is_untouched();
}

fn second_host(dir: &Path) {
    for extension in ["compressfs", "nullfs"] {
        let place = Place::new(&dir.join(extension));
        let mount = Mount::at(&place.lower, &place.point, extension, "");
        let other = dir.join("other");
        fs::create_dir_all(&other).expect("directory");
        let run = Run::new(machine::hsci()).args(["mount", "--extension", extension]);
        run.arg(&place.lower).arg(&other).done().fails(IN_USE, &["lower"]);
        assert_eq!(fs::read(mount.path("file")).expect("read"), b"content", "the first goes on");
        if extension == "compressfs" {
            mount::hsci(["check"], &place.lower).fails(IN_USE, &["lower"]);
        }
        drop(mount);
        place.is_untouched();
    }
}

fn busy(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "");
    fs::write(mount.path("file"), "content").expect("write");
    let open = fs::File::open(mount.path("file")).expect("open");
    mount::hsci(["unmount"], mount.dir()).fails(IN_USE, &["mount", "--force"]);
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"content", "still mounted");
    drop(open);
    mount.unmount();
    mount.check();
    mount.mount();
    let open = fs::File::open(mount.path("file")).expect("open");
    mount::hsci(["unmount", "--force"], mount.dir()).ok();
    assert!(!mount.path("file").exists(), "detached");
    drop(open);
}

fn reserved(dir: &Path) {
    let mount = Mount::new(dir, "mount", "compressfs", "");
    let errno = |result: std::io::Result<()>| Errno::from_io_error(&result.expect_err("refused"));
    let reserved = mount.path(".hsci");
    assert_eq!(errno(fs::create_dir(&reserved)), Some(Errno::PERM));
    assert_eq!(errno(fs::write(&reserved, "")), Some(Errno::PERM));
    fs::write(mount.path("file"), "").expect("write");
    assert_eq!(errno(fs::rename(mount.path("file"), &reserved)), Some(Errno::PERM));
    assert_eq!(errno(fs::hard_link(mount.path("file"), &reserved)), Some(Errno::PERM));
    assert!(!reserved.exists(), "hidden");
    fs::create_dir(mount.path("sub")).expect("directory");
    fs::create_dir(mount.path("sub/.hsci")).expect("reserved at the root only");
    let listed: Vec<_> = fs::read_dir(mount.dir()).expect("list").flatten().collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let set = |name: &str, value: &str| {
        Run::new("setfattr").args(["-n", name, "-v", value]).arg(mount.path("file")).done()
    };
    assert_ne!(set("user.hsci.tried", "x").code, 0, "private to the store");
    assert_ne!(set("user.hsci.algorithm", "brotli").code, 0, "checked");
    assert_eq!(set("user.hsci.algorithm", "lz4").code, 0);
}

fn longest(dir: &Path) {
    let mut mount = Mount::new(dir, "mount", "compressfs", "");
    let name = "n".repeat(255);
    fs::write(mount.path(&name), "long").expect("a name of 255 bytes");
    let longer = fs::write(mount.path(&"n".repeat(256)), "").expect_err("256 bytes");
    assert_eq!(Errno::from_io_error(&longer), Some(Errno::NAMETOOLONG));
    // A path of 4095 bytes, made piece by piece from within.
    let script = format!(
        "cd '{}'; d=$(printf 'd%.0s' {{1..254}})
         p=; while [ $((${{#p}} + 256)) -lt 4095 ]; do mkdir \"$d\"; cd \"$d\"; p=$p$d/; done
         f=$(printf 'f%.0s' $(seq $((4095 - ${{#p}})))); cd '{0}'; echo deep > \"$p$f\"
         cat \"$p$f\"; ! echo deeper > \"${{p}}f$f\" || exit 9",
        mount.dir().display()
    );
    assert_eq!(Run::shell(&script).ok(), "deep\n");
    mount.settle();
    mount.remount();
    assert_eq!(fs::read(mount.path(&name)).expect("read"), b"long");
    let found = Run::new("find").arg(".").args(["-name", "f*", "-printf", "%s"]).dir(mount.dir());
    assert_eq!(found.ok(), "5");
}

/// An extension's program that ends before it has said anything.
fn broken_program(dir: &Path) {
    let place = Place::new(dir);
    let programs = dir.join("programs");
    fs::create_dir(&programs).expect("directory");
    let program = programs.join("hsci-extension-broken");
    fs::write(&program, "#!/bin/sh\nexit 3\n").expect("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mode");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let run = Run::new(machine::hsci()).args(["mount", "--extension", "broken"]).env("PATH", path);
    let done = run.arg(&place.lower).arg(&place.point).done();
    assert_ne!(done.code, 0);
    done.fails(done.code, &["broken"]);
    place.is_untouched();
}

/// Of an extension's program, one that says it was built for a contract that nobody knows yet.
fn newer_contract(dir: &Path) {
    let place = Place::new(dir);
    let programs = dir.join("programs");
    fs::create_dir(&programs).expect("directory");
    let known =
        Run::new(machine::programs().join("hsci-extension-compressfs")).arg("describe").ok();
    let newer = known.replace("\"contract\":1,", "\"contract\":999,");
    let newer = newer.replace("\"name\":\"compressfs\"", "\"name\":\"future\"");
    assert!(newer != known && !newer.contains('\''), "{newer}");
    let program = programs.join("hsci-extension-future");
    fs::write(&program, format!("#!/bin/sh\necho '{newer}'\n")).expect("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mode");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let hsci = |command: &str, paths: &[&Path]| {
        let run = Run::new(machine::hsci()).args([command, "--extension", "future"]);
        run.args(paths).env("PATH", &path).done()
    };
    let words = ["hsci-extension-future", "version 999 of the contract", "install a newer hsci"];
    hsci("mount", &[&place.lower, &place.point]).fails(USAGE, &words);
    for refused in
        [hsci("check", &[&place.lower]), hsci("export", &[&place.lower, &dir.join("out")])]
    {
        refused.fails(STORE, &words);
    }
    place.is_untouched();
    assert_eq!(fs::read_dir(&place.lower).expect("list").count(), 1, "nothing is made in it");
}

fn unreadable_secret(dir: &Path) {
    let place = Place::new(dir);
    fs::write(dir.join("empty"), "").expect("write");
    let stack = ["--extension", "compressfs,crypt", "-o"];
    let dir = dir.display();
    for (key, code, words) in [
        (format!("file:{dir}/nowhere"), MISSING, ["nowhere", "o such file"]),
        (format!("file:{dir}"), MISSING, ["key=file:", "directory"]),
        (format!("file:{dir}/empty"), USAGE, ["`key`", "64 hexadecimal digits"]),
        ("fd:99".to_owned(), MISSING, ["key=fd:99", "o such file"]),
        ("ask".to_owned(), MISSING, ["key=ask", "file:"]),
        ("0123456789abcdef".to_owned(), USAGE, ["`key`", "key=file:PATH"]),
    ] {
        place.refuses(&[&stack[..], &[&format!("key={key}")]].concat(), code, &words);
    }
    place.refuses(&stack[..2], USAGE, &["`key`"]);
    assert_eq!(fs::read_dir(&place.lower).expect("list").count(), 1, "nothing is made in it");
}

fn taken_name(dir: &Path) {
    let place = Place::new(dir);
    let new = |name: &str| Run::new(machine::hsci()).args(["new", name]).dir(dir).done();
    new("compressfs").fails(USAGE, &["`compressfs`", "is installed", "another name"]);
    new("mount").fails(MISSING, &["mount", "exists already", "--dir"]);
    place.refuses(&["--extension", "xor,xor"], USAGE, &["`xor`", "twice"]);
    assert_eq!(fs::read_dir(&place.lower).expect("list").count(), 1, "nothing is made in it");
}

/// A FIFO that nobody writes to, a socket, and devices, where programs are given the names of files.
fn no_file(dir: &Path) {
    let place = Place::new(dir);
    let (fifo, socket) = (dir.join("fifo"), dir.join("socket"));
    Run::new("mkfifo").arg(&fifo).ok();
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let including = dir.join("including.policy");
    fs::write(&including, format!("include \"{}\"\n", fifo.display())).expect("a policy");
    for path in [fifo.as_path(), &socket, Path::new("/dev/zero"), Path::new("/dev/tty")] {
        let named = path.display().to_string();
        let key = format!("key=file:{named}");
        let (lower, point) = (place.lower.display(), place.point.display());
        let (lower, point) = (lower.to_string(), point.to_string());
        for arguments in [
            &["policy", "check", &named][..],
            &["policy", "explain", "--op", "open", "--user", "0", &named, "/etc/passwd"],
            &["policy", "learn", &named],
            &["policy", "load", &named],
            &["up", &named],
            &["mount", "--extension", "crypt", "-o", &key, &lower, &point],
        ] {
            let done = Run::new("timeout").arg("20").arg(machine::hsci()).args(arguments).done();
            assert!(
                [USAGE, IMPOSSIBLE, MISSING].contains(&done.code),
                "{arguments:?}: {} {}",
                done.code,
                done.err
            );
            assert!(done.err.contains(&named), "{arguments:?}: {} {}", done.code, done.err);
        }
    }
    let run = Run::new("timeout").arg("20").arg(machine::hsci()).args(["policy", "check"]);
    assert_ne!(run.arg(&including).done().code, 124, "what is included is opened in the same way");
    place.is_untouched();
}

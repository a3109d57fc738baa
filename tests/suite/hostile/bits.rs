//! Set-user-id, set-group-id and file capabilities go whenever they do on the file system below.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use hsci_tests::command::ALICE;
use hsci_tests::{Mount, Run, Test, machine};

pub(crate) const TESTS: &[Test] = &[
    Test { name: "hostile::bits_go_as_on_the_file_system_below", seconds: 300, body: compared },
    Test { name: "hostile::bits_that_went_are_gone_at_once", seconds: 60, body: at_once },
];

/// Changes of content, as lines for Python: `f` is the path.
const CHANGES: [(&str, &str); 12] = [
    ("write", "fd = os.open(f, os.O_WRONLY); os.pwrite(fd, b'x', 3)"),
    ("append", "fd = os.open(f, os.O_WRONLY | os.O_APPEND); os.write(fd, b'x')"),
    ("truncate", "os.truncate(f, 10)"),
    ("truncate to nothing", "os.open(f, os.O_WRONLY | os.O_TRUNC)"),
    ("extend", "os.truncate(f, 100000)"),
    ("fallocate", "fd = os.open(f, os.O_WRONLY); fallocate(fd, 0, 0, 100000)"),
    ("fallocate, keeping the size", "fd = os.open(f, os.O_WRONLY); fallocate(fd, 1, 0, 100000)"),
    ("punch", "fd = os.open(f, os.O_WRONLY); fallocate(fd, 3, 0, 4096)"),
    ("zero", "fd = os.open(f, os.O_WRONLY); fallocate(fd, 16, 0, 4096)"),
    (
        "copy_file_range",
        "a = os.open(g, os.O_RDONLY); b = os.open(f, os.O_WRONLY); os.copy_file_range(a, b, 100, 0, 0)",
    ),
    ("read", "os.read(os.open(f, os.O_RDONLY), 10)"),
    ("set times", "os.utime(f)"),
];

const MODES: [u32; 4] = [0o4777, 0o2777, 0o6777, 0o2767];

/// One that every user may run.
const PYTHON: &str = "/usr/bin/python3";

fn need_python() {
    if !Path::new(PYTHON).exists() {
        hsci_tests::skip("there is no /usr/bin/python3");
    }
}

/// Runs a change as somebody; what comes out may be a failure, on both alike.
fn change(who: &str, line: &str, file: &Path, other: &Path) -> i32 {
    let text = format!(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n\
        def fallocate(fd, mode, at, n):\n\
        \x20if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(n)) != 0: raise OSError(ctypes.get_errno(), '')\n\
        f, g = {file:?}, {other:?}\n{line}\n"
    );
    let run = match who {
        "alice" => Run::as_user(ALICE, PYTHON),
        "root" => Run::new(PYTHON),
        _ => Run::new("setpriv").args(["--bounding-set=-fsetid", "--inh-caps=-fsetid", PYTHON]),
    };
    run.args(["-c", &text]).done().code
}

/// Each change by each caller, here and on the file system below.
fn compared(dir: &Path) {
    machine::need_root();
    need_python();
    machine::need("setpriv");
    let mut attempts = 0;
    for extension in ["nullfs", "compressfs"] {
        let mount = Mount::new(dir, extension, extension, "");
        let native = dir.join(format!("{extension}.native"));
        fs::create_dir(&native).expect("directory");
        for path in [mount.dir(), native.as_path()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
            fs::write(path.join("other"), [b'o'; 5000]).expect("write");
        }
        for who in ["alice", "root", "root without CAP_FSETID"] {
            for (name, line) in CHANGES {
                for mode in MODES {
                    let result = |base: &Path| {
                        let file = base.join("file");
                        let _ = fs::remove_file(&file);
                        fs::write(&file, [b'f'; 8000]).expect("write");
                        chown(&file, Some(0), Some(7)).expect("chown");
                        fs::set_permissions(&file, fs::Permissions::from_mode(mode))
                            .expect("chmod");
                        let code = change(who, line, &file, &base.join("other"));
                        (code, fs::metadata(&file).expect("stat").mode() & 0o7777)
                    };
                    let (here, below) = (result(mount.dir()), result(&native));
                    // What the lower file system does and the mount does not offer changes nothing.
                    let unsupported = here.0 != below.0 && here.1 & 0o6000 <= mode & 0o6000;
                    assert!(
                        here == below || (unsupported && name.contains("fallocate")),
                        "{extension}, {who}, {name}, {mode:o}: {here:?} here, {below:?} below"
                    );
                    attempts += 1;
                }
            }
        }
    }
    println!("{attempts} attempts");
}

/// The kernel does not go on with the mode that it has cached: not for stat, not for exec.
fn at_once(dir: &Path) {
    machine::need_root();
    need_python();
    for extension in ["nullfs", "compressfs"] {
        let mount = Mount::new(dir, extension, extension, "");
        fs::set_permissions(mount.dir(), fs::Permissions::from_mode(0o755)).expect("chmod");
        for (name, line) in CHANGES.iter().filter(|(name, _)| !["read", "set times"].contains(name))
        {
            if name.contains("truncate") || name.contains("punch") || name.contains("zero") {
                continue;
            }
            let file = mount.path("id");
            let _ = fs::remove_file(&file);
            fs::copy("/usr/bin/id", &file).expect("copy");
            fs::write(mount.path("other"), [0x7F; 5000]).expect("write");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o4777)).expect("chmod");
            // The mode is known to the kernel now.
            assert_eq!(Run::new("stat").args(["-c", "%a"]).arg(&file).ok().trim(), "4777");
            change("alice", line, &file, &mount.path("other"));
            let mode = Run::as_user(ALICE, "stat").args(["-c", "%a"]).arg(&file).ok();
            assert_eq!(mode.trim(), "777", "{extension}: {name}");
        }
    }
}

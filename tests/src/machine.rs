//! What this machine offers to the tests.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where the programs of this run are: in the environment of its tests.
pub(crate) const PROGRAMS: &str = "HSCI_PROGRAMS";

/// The directory with the programs that were built together with the tests, or with copies of them.
///
/// # Panics
/// If they were not built.
#[must_use]
pub fn programs() -> PathBuf {
    let given = std::env::var_os(PROGRAMS).map(PathBuf::from);
    let dir = REACHABLE.get().cloned().flatten().or(given).unwrap_or_else(|| {
        let own = std::env::current_exe().expect("own path");
        own.ancestors().nth(2).expect("tests are built two levels down").to_owned()
    });
    assert!(dir.join("hsci").is_file(), "no {}/hsci: build the workspace first", dir.display());
    dir
}

/// Copies, where other users cannot reach the programs.
static REACHABLE: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Lets tests of other users reach the programs wherever the project lies. Returns the directory with copies, which is
/// to be removed in the end.
///
/// # Panics
/// If it cannot be made.
pub(crate) fn let_all_reach_programs(base: &Path) -> Option<PathBuf> {
    let built = programs();
    let admits = |dir: &Path| dir.metadata().is_ok_and(|stat| stat.mode() & 0o001 != 0);
    let all_reach = built.ancestors().all(admits);
    let copies = REACHABLE.get_or_init(|| {
        if all_reach || !rustix::process::geteuid().is_root() {
            return None;
        }
        let dir = base.join(format!("hsci-{}-programs", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for programs");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&dir, mode).expect("its mode");
        let files = std::fs::read_dir(&built).expect("programs").flatten();
        let is_program = |path: &PathBuf| {
            path.metadata().is_ok_and(|stat| stat.is_file() && stat.mode() & 0o111 != 0)
        };
        for program in files.map(|entry| entry.path()).filter(is_program) {
            let copy = dir.join(program.file_name().expect("a name"));
            let linked = std::fs::hard_link(&program, &copy);
            linked.or_else(|_| std::fs::copy(&program, &copy).map(drop)).expect("a copy");
        }
        Some(dir)
    });
    copies.clone()
}

/// The command.
#[must_use]
pub fn hsci() -> PathBuf {
    programs().join("hsci")
}

/// The root of the project's sources.
#[must_use]
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the project")
}

/// A program on the PATH, or in one of the directories that only root has there.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A number that `./run torture` sets higher, in a variable of the environment.
///
/// # Panics
/// If it is set to something else.
#[must_use]
pub fn amount(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Skips the test unless it runs as root.
pub fn need_root() {
    if !rustix::process::geteuid().is_root() {
        crate::skip("needs root");
    }
}

/// Skips the test unless the program is installed.
pub fn need(program: &str) {
    if find(program).is_none() {
        crate::skip(&format!("{program} is not installed"));
    }
}

/// Lets everybody open `/dev/fuse`, as on most machines, in this process and those that it starts: it has mounts of
/// its own from now on. `dir` is for the device node.
pub fn open_dev_fuse(dir: &Path) {
    if !Path::new("/dev/fuse").exists() {
        crate::skip("there is no /dev/fuse");
    }
    crate::sys::own_mounts();
    let node = dir.join("fuse");
    let made = crate::Run::new("mknod").args(["-m", "666"]).arg(&node).args(["c", "10", "229"]);
    made.ok();
    crate::Run::new("mount").arg("--bind").arg(node).arg("/dev/fuse").ok();
}

/// A writable directory on another file system than `dir`'s.
#[must_use]
pub fn other_file_system(dir: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    let found = [PathBuf::from("/dev/shm"), "/run".into(), "/tmp".into()];
    found.into_iter().find(|path| device(path).is_some() && device(path) != device(dir))
}

/// Processes of extensions' programs that hold the lower directory open. They have it on a mount of their
/// own, so it is known by its number, and by its path where something is mounted over it.
#[must_use]
pub fn workers(lower: &Path) -> std::collections::BTreeSet<u32> {
    let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    let wanted = std::fs::metadata(lower).ok().map(identity);
    let is_worker = |pid: &u32| {
        let name = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let holds = |entry: std::fs::DirEntry| {
            let is_below =
                std::fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(lower));
            is_below
                || wanted.is_some() && std::fs::metadata(entry.path()).ok().map(identity) == wanted
        };
        name.starts_with("hsci-extension-") && open.into_iter().any(holds)
    };
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_worker)
        .collect()
}

/// Control sockets of a user's mounts, of this one's if none is named, on which nobody listens any more.
#[must_use]
pub fn dead_sockets(user: Option<u32>) -> Vec<PathBuf> {
    let own = rustix::process::geteuid().as_raw();
    let places = match user.unwrap_or(own) {
        0 => vec!["/run/hsci".into()],
        user => vec![format!("/run/user/{user}/hsci"), format!("/tmp/hsci-{user}")],
    };
    let entries = places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten();
    let sockets = entries.flatten().map(|entry| entry.path());
    let is_dead = |path: &PathBuf| {
        let refused = std::io::ErrorKind::ConnectionRefused;
        let asked = std::os::unix::net::UnixStream::connect(path);
        path.extension().is_some_and(|ending| ending == "sock")
            && asked.is_err_and(|error| error.kind() == refused)
    };
    sockets.filter(is_dead).collect()
}

/// Formats a file as a file system of the given type and size and mounts it at `dir`.
///
/// The mount ends with [`Loop`]; the loop device with the mount.
#[must_use]
pub fn loop_file_system(kind: &str, size: u64, image: &Path, dir: &Path) -> Loop {
    need_root();
    need(&format!("mkfs.{kind}"));
    let file = std::fs::File::create(image).expect("image");
    file.set_len(size).expect("image size");
    crate::Run::new(format!("mkfs.{kind}")).arg("-q").arg(image).ok();
    loop_mount(image, dir)
}

/// Mounts a file with a file system in it at `dir`, as [`loop_file_system`] does.
#[must_use]
pub fn loop_mount(image: &Path, dir: &Path) -> Loop {
    std::fs::create_dir_all(dir).expect("mount point");
    let done = crate::Run::new("mount").args(["-o", "loop"]).arg(image).arg(dir).done();
    if done.code != 0 && done.err.contains("loop device") {
        crate::skip(&format!("no loop device: {}", done.err.trim()));
    }
    done.ok();
    Loop(dir.to_owned())
}

/// A mounted loop file system.
#[derive(Debug)]
pub struct Loop(PathBuf);

impl Drop for Loop {
    fn drop(&mut self) {
        let unmount = || crate::Run::new("umount").arg(&self.0).done().code == 0;
        // A loop device lets go of an image that lies in here some time after it is unmounted.
        let _ = patiently(unmount);
    }
}

/// Tries for two seconds.
fn patiently(mut attempt: impl FnMut() -> bool) -> bool {
    (0..100).any(|_| {
        let done = attempt();
        if !done {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        done
    })
}

/// A control group with a limit, for processes that are put into it; removed when dropped.
#[derive(Debug)]
pub struct ControlGroup {
    dir: PathBuf,
    limit: &'static str,
}

impl ControlGroup {
    /// Makes one with so many bytes of memory, in version 2 or 1 of control groups; skips the test where neither
    /// limits memory.
    #[must_use]
    pub fn of_memory(bytes: u64) -> Self {
        let places =
            [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
        let group = Self::new(&places, &bytes.to_string());
        group.unwrap_or_else(|| crate::skip("no control group limits memory"))
    }

    /// Makes one that does not limit yet how many threads there are.
    #[must_use]
    pub fn of_threads() -> Self {
        let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"].map(|parent| (parent, "pids.max"));
        let group = Self::new(&places, "max");
        group.unwrap_or_else(|| crate::skip("no control group limits threads"))
    }

    fn new(places: &[(&'static str, &'static str)], value: &str) -> Option<Self> {
        need_root();
        places.iter().find_map(|(parent, limit)| {
            let dir = Path::new(parent).join(format!("hsci-{}", std::process::id()));
            std::fs::create_dir(&dir).ok()?;
            let group = Self { dir, limit };
            group.set(value).is_ok().then_some(group)
        })
    }

    fn set(&self, value: &str) -> std::io::Result<()> {
        // Not created where it is missing, which below version 1 would be a file of tmpfs.
        let mut limit = std::fs::File::options().write(true).open(self.dir.join(self.limit))?;
        std::io::Write::write_all(&mut limit, value.as_bytes())
    }

    /// Changes the limit.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn limit(&self, value: &str) {
        self.set(value).expect("another limit");
    }

    /// Puts a process into it.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn take(&self, process: rustix::process::Pid) {
        let number = process.as_raw_nonzero().to_string();
        std::fs::write(self.dir.join("cgroup.procs"), number).expect("into the group");
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Number of its processes that the kernel has killed for want of memory.
    ///
    /// # Panics
    /// If the kernel does not say.
    #[must_use]
    pub fn kills(&self) -> u64 {
        let read = |name| std::fs::read_to_string(self.dir.join(name));
        let text = read("memory.events").or_else(|_| read("memory.oom_control")).expect("read");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.parse().ok()).expect("a count")
    }

    /// Number of its threads.
    ///
    /// # Panics
    /// If the kernel does not say.
    #[must_use]
    pub fn threads(&self) -> usize {
        let text = std::fs::read_to_string(self.dir.join("pids.current")).expect("read");
        text.trim().parse().expect("a count")
    }

    /// How often the kernel has refused another thread.
    ///
    /// # Panics
    /// If the kernel does not say.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        let text = std::fs::read_to_string(self.dir.join("pids.events")).expect("read");
        let count = text.trim().strip_prefix("max ");
        count.and_then(|count| count.parse().ok()).expect("a count")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // A process that was killed may not have gone yet.
        let _ = patiently(|| std::fs::remove_dir(&self.dir).is_ok());
    }
}

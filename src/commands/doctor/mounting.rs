//! What mounting needs, and what the kernel's FUSE can do.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_string, fsopen};
use rustix::process::{Resource, geteuid, getrlimit};

use super::{Finding, read};
use crate::extension_program;

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";

pub(super) fn look() -> Vec<Finding> {
    let mut findings = vec![kernel(), device(), right(), helper(), allow_other()];
    match Protocol::ask() {
        Ok(protocol) => findings.extend(protocol.findings()),
        Err(Errno::PERM | Errno::ACCESS) => findings.push(Finding::unknown(
            "FUSE features",
            "only root can ask the kernel",
            "run `hsci doctor` as root to see them",
        )),
        Err(errno) => findings.push(Finding::unknown(
            "FUSE features",
            format!("the kernel does not say: {errno}"),
            "Linux 5.2 or later tells them",
        )),
    }
    findings.extend([ring(), descriptors(), extensions(), mount_helper()]);
    findings
}

/// The first kernel that sends requests again (FUSE_NOTIFY_RESEND), as [`FEATURES`] tests for it.
const RESTARTS_SINCE: (u32, u32) = (6, 9);

/// The kernel's version, which everybody may ask, unlike its features.
fn kernel() -> Finding {
    const NAME: &str = "kernel";
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let found = format!("Linux {release}");
    match version(&release) {
        Some(version) if version < RESTARTS_SINCE => Finding::missing(
            NAME,
            found,
            "directories can be mounted, but a mount ends if the process that serves it dies",
            "Linux 6.9 or later has another process take over",
        ),
        _ => Finding::ok(NAME, found),
    }
}

/// Major and minor number of a release such as `6.1.0-35-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn device() -> Finding {
    const NAME: &str = "FUSE device";
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Finding::ok(NAME, format!("{DEVICE} can be opened")),
        Err(error) => {
            let advice = match error.kind() {
                ErrorKind::PermissionDenied => {
                    "let users open it (`chmod 666 /dev/fuse`), or be root"
                }
                _ => {
                    "load the module (`modprobe fuse`); in a container, pass the device to it (`--device /dev/fuse`)"
                }
            };
            let found = format!("{DEVICE}: {error}");
            Finding::missing(NAME, found, "nothing can be mounted", advice).needed()
        }
    }
}

/// Whether root is the one that mounts, or root of a container that may not.
fn right() -> Finding {
    const NAME: &str = "right to mount";
    if !geteuid().is_root() {
        return Finding::ok(NAME, format!("not root: through {HELPER}"));
    }
    let status = read("/proc/self/status").unwrap_or_default();
    if may_mount(&status) {
        return Finding::ok(NAME, "CAP_SYS_ADMIN");
    }
    Finding::missing(
        NAME,
        "root without CAP_SYS_ADMIN, as in most containers",
        "nothing can be mounted in here",
        "mount outside, and give the container the mount; or give it the capability (`--cap-add SYS_ADMIN`)",
    )
    .needed()
}

/// Whether a process may mount, by what the kernel says of it in `/proc/PID/status`.
fn may_mount(status: &str) -> bool {
    const CAP_SYS_ADMIN: u32 = 21;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    effective.is_none_or(|bits| bits & 1 << CAP_SYS_ADMIN != 0)
}

fn helper() -> Finding {
    const NAME: &str = "mounting without root";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join(HELPER)).find(|path| path.is_file());
    match found {
        Some(path) => Finding::ok(NAME, path.display().to_string()),
        None => {
            let finding = Finding::missing(
                NAME,
                format!("{HELPER} is not on PATH"),
                "only root can mount",
                "install the package `fuse3`",
            );
            if geteuid().is_root() { finding } else { finding.needed() }
        }
    }
}

fn allow_other() -> Finding {
    const NAME: &str = "mounts of users for all";
    const CONFIG: &str = "/etc/fuse.conf";
    let text = read(CONFIG).unwrap_or_default();
    if text.lines().any(|line| line.trim() == "user_allow_other") {
        return Finding::ok(NAME, format!("user_allow_other in {CONFIG}"));
    }
    Finding::missing(
        NAME,
        format!("no user_allow_other in {CONFIG}"),
        "a directory that an ordinary user mounts is seen by that user only; mounts by root are seen by all",
        "add the line `user_allow_other` to /etc/fuse.conf if users may share what they mount",
    )
}

fn ring() -> Finding {
    const NAME: &str = "FUSE over io_uring";
    const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";
    let effect = "requests take the ordinary way, which is what this version uses anyway";
    match read(PARAMETER).as_deref() {
        Ok("Y" | "1") => Finding::ok(NAME, "switched on; not used by this version"),
        Ok(_) => Finding::missing(
            NAME,
            format!("switched off in {PARAMETER}"),
            effect,
            "nothing now; later `echo 1 >` into it, before mounting",
        ),
        Err(_) => Finding::missing(
            NAME,
            "the kernel does not have it",
            effect,
            "Linux 6.14 or later has it",
        ),
    }
}

fn descriptors() -> Finding {
    const NAME: &str = "open descriptors";
    let limit = getrlimit(Resource::Nofile);
    let text = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let found = format!("at most {} (soft), {} (hard)", text(limit.current), text(limit.maximum));
    if limit.maximum.is_none_or(|limit| limit >= 4096) {
        return Finding::ok(NAME, found);
    }
    Finding::missing(
        NAME,
        found,
        "few lower files are kept open, so that large trees get slower",
        "raise the hard limit (`nofile` in /etc/security/limits.conf)",
    )
}

fn extensions() -> Finding {
    const NAME: &str = "extensions";
    let names: Vec<_> = extension_program::names().into_iter().collect();
    if names.is_empty() {
        return Finding::missing(
            NAME,
            "no program hsci-extension-NAME next to hsci or on PATH",
            "nothing can be mounted",
            "install hsci again, with all of its programs",
        )
        .needed();
    }
    Finding::ok(NAME, names.join(", "))
}

fn mount_helper() -> Finding {
    const NAME: &str = "mount(8) and fstab";
    let helpers = ["/sbin/mount.fuse.hsci", "/sbin/mount.fuse"];
    match helpers.into_iter().find(|helper| Path::new(helper).exists()) {
        Some(helper) => Finding::ok(NAME, format!("through {helper}")),
        None => Finding::missing(
            NAME,
            "no /sbin/mount.fuse.hsci",
            "`mount -t fuse.hsci` and lines in /etc/fstab do not work; `hsci mount` does",
            "link it to this program: `ln -s $(command -v hsci) /sbin/mount.fuse.hsci`",
        ),
    }
}

/// What the kernel offers to a FUSE server when a file system is made.
struct Protocol {
    major: u32,
    minor: u32,
    flags: u64,
}

/// Flags of FUSE's INIT request (`include/uapi/linux/fuse.h`), and what they are good for.
const FEATURES: [(u32, &str, &str); 5] = [
    (17, "opens without requests", "each open and close of a file costs a request"),
    (24, "directory opens without requests", "each listing of a directory costs requests"),
    (20, "access control lists", "ACLs on files are not honoured"),
    (37, "passthrough", "with `profile=data`, reads and writes are requests like any others"),
    (39, "requests sent again", "a mount does not survive the death of the process that serves it"),
];

impl Protocol {
    /// Makes a FUSE file system that is mounted nowhere, and reads the kernel's first request.
    fn ask() -> Result<Self, Errno> {
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let mut device = File::options().read(true).write(true).open(DEVICE).map_err(errno)?;
        let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let descriptor = device.as_raw_fd().to_string();
        for (key, value) in [
            ("fd", descriptor.as_str()),
            ("rootmode", "40000"),
            ("user_id", "0"),
            ("group_id", "0"),
        ] {
            fsconfig_set_string(&context, key, value)?;
        }
        fsconfig_create(&context)?;
        // The kernel reads into no buffer that is smaller than this.
        let mut request = [0; 8192];
        let len = device.read(&mut request).map_err(errno)?;
        Self::parse(&request[..len]).ok_or(Errno::PROTO)
    }

    /// Takes an INIT request apart: a header of 40 bytes, then words of 4.
    fn parse(request: &[u8]) -> Option<Self> {
        const HEADER: usize = 40;
        let word = |index: usize| {
            let bytes = request.get(HEADER + index * 4..)?.first_chunk()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        let high = word(4).unwrap_or(0);
        let flags = u64::from(word(3)?) | u64::from(high) << 32;
        Some(Self { major: word(0)?, minor: word(1)?, flags })
    }

    fn findings(&self) -> Vec<Finding> {
        let version = Finding::ok("FUSE protocol", format!("{}.{}", self.major, self.minor));
        let features = FEATURES.iter().map(|&(bit, name, effect)| {
            if self.flags & 1 << bit == 0 {
                return Finding::missing(
                    name,
                    "the kernel does not have it",
                    effect,
                    "a newer kernel has it",
                );
            }
            Finding::ok(name, "the kernel has it")
        });
        std::iter::once(version).chain(features).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_their_numbers() {
        assert_eq!(version("6.1.0-35-amd64"), Some((6, 1)));
        assert_eq!(version("6.18.5"), Some((6, 18)));
        assert!(version("6.18.5") > Some(RESTARTS_SINCE));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn root_of_a_container_may_not_mount() {
        assert!(may_mount("Name:\tcat\nCapEff:\t000001ffffffffff\n"));
        assert!(!may_mount("Name:\tcat\nCapEff:\t00000000a80425fb\n"));
        assert!(may_mount(""), "what is not known is no reason to refuse");
    }

    #[test]
    fn a_first_request_is_taken_apart() {
        let mut request = vec![0; 40];
        for word in [7_u32, 45, 131_072, 1 << 30 | 1 << 17, 1 << 5] {
            request.extend(word.to_ne_bytes());
        }
        let protocol = Protocol::parse(&request).expect("whole");
        assert_eq!((protocol.major, protocol.minor), (7, 45));
        assert_eq!(protocol.flags, 1 << 37 | 1 << 30 | 1 << 17);
        assert!(Protocol::parse(&request[..50]).is_none());
    }
}

//! The file systems that are compared, and what each needs of the machine.

mod device;
mod place;

pub(crate) use self::place::Place;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A file system that is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Takes part in short runs as well.
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of the kernel, made by a program, mounted with options.
    Native { kind: &'static str, options: &'static str },
    /// Of the kernel, read-only, made of a directory.
    Image { kind: &'static str, maker: &'static str },
    /// squashfs, served at user level.
    Squashfuse,
    /// Another FUSE file system over a directory on ext4.
    Peer(&'static str),
    /// HSCI over a directory on ext4.
    Hsci { extension: &'static str, options: &'static str },
}

/// The yardstick of all ratios.
pub(crate) const YARDSTICK: &str = "ext4";

const fn native(name: &'static str, kind: &'static str, options: &'static str) -> Contender {
    Contender { name, kind: Kind::Native { kind, options }, quick: false }
}

const fn compressfs(name: &'static str, options: &'static str) -> Contender {
    Contender { name, kind: Kind::Hsci { extension: "compressfs", options }, quick: false }
}

const fn peer(name: &'static str) -> Contender {
    Contender { name, kind: Kind::Peer(name), quick: false }
}

const fn quick(contender: Contender) -> Contender {
    Contender { quick: true, ..contender }
}

/// Compression by HSCI waits for an order, so that it disturbs nothing that is measured; but with `settle=5`, which
/// is what mounts have where nothing is said, quiet files are compressed beside what is measured.
const CONTENDERS: &[Contender] = &[
    quick(native("ext4", "ext4", "noatime")),
    native("btrfs lzo", "btrfs", "noatime,compress-force=lzo"),
    native("btrfs zstd:1", "btrfs", "noatime,compress-force=zstd:1"),
    quick(native("btrfs zstd:3", "btrfs", "noatime,compress-force=zstd:3")),
    native("btrfs zstd:15", "btrfs", "noatime,compress-force=zstd:15"),
    Contender {
        name: "squashfs",
        kind: Kind::Image { kind: "squashfs", maker: "mksquashfs" },
        quick: false,
    },
    Contender {
        name: "erofs",
        kind: Kind::Image { kind: "erofs", maker: "mkfs.erofs" },
        quick: false,
    },
    Contender { name: "squashfuse", kind: Kind::Squashfuse, quick: false },
    quick(peer("bindfs")),
    peer("gocryptfs"),
    peer("passthrough_hp"),
    Contender {
        name: "nullfs",
        kind: Kind::Hsci { extension: "nullfs", options: "" },
        quick: true,
    },
    quick(compressfs("compressfs", "algorithm=zstd:3,settle=10m")),
    compressfs("compressfs data", "algorithm=zstd:3,settle=10m,profile=data"),
    compressfs("compressfs settle=5", "algorithm=zstd:3,settle=5"),
    compressfs("compressfs lz4", "algorithm=lz4,settle=10m"),
    compressfs("compressfs zstd:1", "algorithm=zstd:1,settle=10m"),
    compressfs("compressfs zstd:19", "algorithm=zstd:19,settle=10m"),
];

/// The contenders that this machine can run, and why it cannot run the others.
pub(crate) fn probe(
    short: bool,
    wanted: &[String],
) -> (Vec<Contender>, Vec<(&'static str, String)>) {
    let is_name = |part: &String| CONTENDERS.iter().any(|contender| contender.name == part);
    let is_meant = |contender: &Contender, part: &String| {
        contender.name == part || (!is_name(part) && contender.name.contains(part.as_str()))
    };
    let is_wanted = |contender: &&Contender| {
        contender.name == YARDSTICK
            || match wanted {
                [] => contender.quick || !short,
                _ => wanted.iter().any(|part| is_meant(contender, part)),
            }
    };
    let (mut able, mut unable) = (Vec::new(), Vec::new());
    for contender in CONTENDERS.iter().filter(is_wanted) {
        match contender.probe() {
            Ok(()) => able.push(*contender),
            Err(reason) => unable.push((contender.name, reason.to_string())),
        }
    }
    (able, unable)
}

/// The names of all, on any machine.
#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CONTENDERS.iter().map(|contender| contender.name)
}

impl Contender {
    /// It goes on with what a step has left to it after the step.
    pub(crate) fn settles_unasked(&self) -> bool {
        matches!(self.kind, Kind::Hsci { options, .. } if options.contains("settle=5"))
    }

    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.kind, Kind::Image { .. } | Kind::Squashfuse)
    }

    fn probe(&self) -> Result<()> {
        match self.kind {
            Kind::Native { kind, .. } => {
                need_kernel(kind)?;
                need(&format!("mkfs.{kind}"))
            }
            Kind::Image { kind, maker } => {
                need_kernel(kind)?;
                need(maker)
            }
            Kind::Squashfuse => {
                need("mksquashfs")?;
                need("squashfuse")
            }
            Kind::Peer(program) => need(program),
            Kind::Hsci { .. } => Ok(()),
        }
    }
}

fn need_kernel(kind: &str) -> Result<()> {
    let known = || -> Result<bool> {
        let text = fs::read_to_string("/proc/filesystems")?;
        Ok(text.lines().any(|line| line.split_whitespace().next_back() == Some(kind)))
    };
    if known()? {
        return Ok(());
    }
    // A module, perhaps.
    let _ = Command::new("modprobe").arg(kind).stderr(Stdio::null()).status();
    if !known()? {
        bail!("this kernel has no {kind}");
    }
    Ok(())
}

/// Makes sure that there is a program of this name.
pub(crate) fn need(program: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    for place in places {
        if place.join(program).is_file() {
            return Ok(());
        }
    }
    bail!("there is no program {program}")
}

/// Runs a command and returns what it prints.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Unmounts, whatever happens.
pub(crate) fn unmount(directory: &Path) {
    if run(Command::new("umount").arg(directory)).is_err() {
        let _ = run(Command::new("umount").arg("-l").arg(directory));
    }
}

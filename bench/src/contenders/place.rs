//! A contender, mounted.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::device::Device;
use super::{Contender, Kind, run, unmount};
use crate::measures::resident_kib;

/// A mounted contender; unmounted when the value is dropped.
pub(crate) struct Place {
    pub(crate) contender: Contender,
    /// Where its users work.
    pub(crate) directory: PathBuf,
    server: Server,
    /// Bytes used on the device when it was new.
    empty: u64,
    /// Memory of the server when it was.
    idle_kib: Cell<Option<u64>>,
    // After the server: what it serves from goes last.
    device: Device,
}

/// Who serves the mount.
enum Server {
    Kernel,
    Program { child: Child, directory: PathBuf },
    Hsci { program: PathBuf, directory: PathBuf },
}

/// How long a server may take until it serves.
const PATIENCE: Duration = Duration::from_secs(20);

impl Place {
    /// Mounts a contender on a new device; one that is read-only gets the files of `stage`.
    pub(crate) fn make(
        contender: Contender,
        hsci: &Path,
        scratch: &Path,
        stage: &Path,
        len: u64,
    ) -> Result<Self> {
        let name = contender.name.replace([' ', ':'], "-");
        let lower = |options: &str| Device::make(scratch, &name, "ext4", options, len);
        let (device, server) = match contender.kind {
            Kind::Native { kind, options } => {
                (Device::make(scratch, &name, kind, options, len)?, Server::Kernel)
            }
            Kind::Image { kind, maker } => {
                let image = scratch.join(format!("{name}.img"));
                copy_image(maker, scratch, stage, &image)?;
                debug_assert!(maker.contains(kind), "{maker} makes {kind}");
                (Device::mount(scratch, &name, image, "ro")?, Server::Kernel)
            }
            Kind::Squashfuse => {
                let device = lower("noatime")?;
                let image = device.directory.join("image");
                copy_image("mksquashfs", scratch, stage, &image)?;
                let mut command = Command::new("squashfuse");
                command.arg("-f").arg(image);
                let server = Server::start(&mut command, scratch.join(format!("{name}-mount")))?;
                (device, server)
            }
            Kind::Peer(program) => {
                let device = lower("noatime")?;
                let mut command = peer(program, &device.directory)?;
                let server = Server::start(&mut command, scratch.join(format!("{name}-mount")))?;
                (device, server)
            }
            Kind::Hsci { extension, options } => {
                let device = lower("noatime")?;
                let directory = scratch.join(format!("{name}-mount"));
                fs::create_dir_all(&directory)?;
                mount_hsci(hsci, extension, options, &device.directory, &directory)?;
                (device, Server::Hsci { program: hsci.to_owned(), directory })
            }
        };
        let directory = server.directory().unwrap_or(&device.directory).to_owned();
        let idle_kib = Cell::default();
        let mut place = Self { contender, directory, server, empty: 0, idle_kib, device };
        place.idle_kib.set(place.server_pid().and_then(resident_kib));
        if !contender.is_read_only() {
            place.sync()?;
            place.empty = place.used()?;
        }
        Ok(place)
    }

    /// Bytes written to the device below since it was attached.
    pub(crate) fn written_below(&self) -> Result<u64> {
        self.device.written()
    }

    /// Makes everything durable.
    pub(crate) fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(File::open(&self.directory)?)?;
        Ok(rustix::fs::syncfs(File::open(&self.device.directory)?)?)
    }

    /// The process that serves, if the kernel does not.
    pub(crate) fn server_pid(&self) -> Option<u32> {
        match &self.server {
            Server::Kernel => None,
            Server::Program { child, .. } => Some(child.id()),
            Server::Hsci { .. } => {
                let status = self.status().ok()?;
                status["worker_pid"].as_u64()?.try_into().ok()
            }
        }
    }

    /// The number of its FUSE connection.
    pub(crate) fn connection(&self) -> Option<u32> {
        self.server.directory()?;
        Some(rustix::fs::minor(fs::metadata(&self.directory).ok()?.dev()))
    }

    /// Bytes that what is stored takes, with all that describes it.
    pub(crate) fn stored(&self) -> Result<u64> {
        self.sync()?;
        Ok(self.used()?.saturating_sub(self.empty))
    }

    fn used(&self) -> Result<u64> {
        let read_only = self.contender.is_read_only();
        let at = if read_only { &self.directory } else { &self.device.directory };
        let space = rustix::fs::statvfs(at)?;
        Ok((space.f_blocks - space.f_bfree) * space.f_frsize)
    }

    /// The server's memory, beyond what it took when it was new.
    pub(crate) fn memory_kib(&self) -> Option<u64> {
        Some(resident_kib(self.server_pid()?)?.saturating_sub(self.idle_kib.get()?))
    }

    /// Has another server serve, where it is HSCI's.
    pub(crate) fn remount(&self) -> Result<()> {
        if let Server::Hsci { program, directory } = &self.server
            && let Kind::Hsci { extension, options } = self.contender.kind
        {
            run(Command::new(program).arg("unmount").arg(directory))?;
            mount_hsci(program, extension, options, &self.device.directory, directory)?;
            self.idle_kib.set(self.server_pid().and_then(resident_kib));
        }
        Ok(())
    }

    /// An order to compress everything now, where that is not done while writing.
    pub(crate) fn settle(&self) -> Option<Command> {
        let (Server::Hsci { program, directory }, "compressfs") =
            (&self.server, self.contender.name.split(' ').next()?)
        else {
            return None;
        };
        let mut command = Command::new(program);
        command.arg("settle").arg(directory);
        Some(command)
    }

    fn status(&self) -> Result<Value> {
        let Server::Hsci { program, directory } = &self.server else {
            bail!("{} has no status", self.contender.name)
        };
        let text = run(Command::new(program).args(["status", "--json"]).arg(directory))?;
        serde_json::from_str(&text).context("status of the mount")
    }
}

impl Server {
    /// Starts a program that stays in the foreground, and waits until it serves.
    fn start(command: &mut Command, directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        let before = fs::metadata(&directory)?.dev();
        // Not in this group: an interrupt from the terminal is for this program, which unmounts then.
        command.process_group(0);
        let silent = command.arg(&directory).stdin(Stdio::null()).stdout(Stdio::null());
        let child = silent.stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot run {command:?}"))?;
        let mut server = Self::Program { child, directory };
        let begun = Instant::now();
        loop {
            let Self::Program { child, directory } = &mut server else { unreachable!() };
            if fs::metadata(directory).is_ok_and(|found| found.dev() != before) {
                return Ok(server);
            }
            if child.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
                bail!("{command:?} does not serve");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn directory(&self) -> Option<&PathBuf> {
        match self {
            Self::Kernel => None,
            Self::Program { directory, .. } | Self::Hsci { directory, .. } => Some(directory),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self {
            Self::Kernel => {}
            Self::Program { child, directory } => {
                unmount(directory);
                let _ = child.wait();
            }
            Self::Hsci { program, directory } => {
                if run(Command::new(program).arg("unmount").arg(&*directory)).is_err() {
                    unmount(directory);
                }
            }
        }
    }
}

fn mount_hsci(
    hsci: &Path,
    extension: &str,
    options: &str,
    lower: &Path,
    directory: &Path,
) -> Result<()> {
    let mut command = Command::new(hsci);
    command.arg("mount").arg(lower).arg(directory).args(["--extension", extension]);
    if !options.is_empty() {
        command.args(["-o", options]);
    }
    run(&mut command).map(drop)
}

/// The command line of another FUSE file system, but for where it is mounted.
fn peer(program: &str, lower: &Path) -> Result<Command> {
    let source = lower.join("source");
    fs::create_dir(&source)?;
    let mut command = Command::new(program);
    match program {
        "bindfs" => command.args(["-f", "--multithreaded"]).arg(source),
        "gocryptfs" => {
            let password = lower.join("password");
            fs::write(&password, "measured\n")?;
            let mut init = Command::new(program);
            init.args(["-q", "-init", "-scryptn", "10", "-passfile"]).arg(&password).arg(&source);
            run(&mut init)?;
            command.args(["-q", "-fg", "-allow_other", "-passfile"]).arg(password).arg(source)
        }
        "passthrough_hp" => command.arg("--foreground").arg(source),
        other => bail!("nobody has said how {other} is mounted"),
    };
    Ok(command)
}

/// A read-only image of the staged files, which is made once in a run.
fn copy_image(maker: &str, scratch: &Path, stage: &Path, image: &Path) -> Result<()> {
    let made = scratch.join(format!("made-by-{maker}"));
    if !made.exists() {
        let mut command = Command::new(maker);
        match maker {
            "mksquashfs" => {
                command.arg(stage).arg(&made).args(["-comp", "zstd", "-quiet", "-no-progress"])
            }
            _ => command.args(["--quiet", "-zlz4hc"]).arg(&made).arg(stage),
        };
        if let Err(error) = run(&mut command) {
            let _ = fs::remove_file(&made);
            return Err(error);
        }
    }
    Ok(fs::copy(&made, image).map(drop)?)
}

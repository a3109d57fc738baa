//! An extension that was taken over: it tries to get out of its sandbox. Each attempt is an extended
//! attribute, `user.try-NAME`, whose value is what came of it.
//!
//! An attempt that ends the worker is made again by the next one, for the kernel asks again. So a
//! directory in the mount is made before it, and where that is there already, the answer is that the
//! worker was ended.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::sync::Arc;

use hsci_extension::options::{OptionKind, OptionSpec};
use hsci_extension::{
    Call, Checked, Environment, Error, Extension, Finding, Ino, Result, Severity, Stack,
};
use hsci_host::program::{extension, run};
use hsci_tests::sys::hostile;
use rustix::fs::{FileType, Mode, OFlags, mknodat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

fn main() -> ExitCode {
    run(&[extension::<Hostile>()])
}

struct Hostile;

impl Extension for Hostile {
    const NAME: &'static str = "hostile";
    const ABOUT: &'static str = "tries to get out, for tests";
    const FORMAT_VERSION: u32 = 0;

    fn options() -> Vec<OptionSpec> {
        let text = |name, help, default| {
            let kind = OptionKind::Text { check: |_| Ok(()), placeholder: "TEXT" };
            OptionSpec::new(name, help, kind, default)
        };
        vec![
            // Who makes this list says who asked for it.
            text("asked", format!("by user {}", geteuid().as_raw()).leak(), ""),
            text("secret", "a file that is none of its business", "/etc/shadow"),
            text("handle", "a file handle on another file system, in hexadecimal", ""),
            text("victim", "a process of a user", "1"),
            text("beside", "a file handle on this file system outside of the store", ""),
            text("last", "what to try at the end of a check", ""),
        ]
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        Ok(Arc::new(Layer::new(environment)))
    }

    /// Says what it could do, as if that were damage.
    fn check(
        environment: &Environment,
        report: &mut dyn FnMut(Finding),
        _: &mut dyn FnMut(u64),
    ) -> Result<Checked> {
        let layer = Layer::new(environment);
        for (name, outcome) in layer.attempts() {
            report(Finding::new(Severity::Notice, name, outcome));
        }
        let last = environment.options.text("last");
        let outcome = match last {
            "" => return Ok(Checked::default()),
            "hang" => loop {
                std::thread::sleep(std::time::Duration::from_secs(1000));
            },
            "memory" => memory(),
            name => layer.attempt(name).unwrap_or(Err(Errno::INVAL)),
        };
        report(Finding::new(Severity::Notice, last, format!("{outcome:?}")));
        Ok(Checked::default())
    }
}

struct Layer {
    below: Arc<Stack>,
    secret: String,
    handle: String,
    beside: String,
    victim: String,
}

impl hsci_extension::Layer for Layer {
    fn lower(&self) -> &Stack {
        &*self.below
    }

    /// Of a file with this name, what it could do is an attribute.
    fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<OsString>> {
        let mut names = self.below.listxattr(call, ino)?;
        if self.below.lookup(call, Ino::ROOT, OsStr::new("tell")).is_ok_and(|told| told.ino == ino)
        {
            names.push("user.told".into());
        }
        Ok(names)
    }

    fn getxattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        if name == "user.told" {
            let told =
                self.attempts().into_iter().map(|(name, outcome)| format!("{name}: {outcome}\n"));
            return Ok(told.collect::<String>().into_bytes());
        }
        let Some(attempt) = name.to_str().and_then(|name| name.strip_prefix("user.try-")) else {
            return self.below.getxattr(call, ino, name);
        };
        let mark = OsStr::new(attempt);
        if self.below.lookup(call, Ino::ROOT, mark).is_ok() {
            return Ok(b"ended".to_vec());
        }
        let mark = self.below.mkdir(call, Ino::ROOT, mark, 0o700)?;
        self.below.forget(mark.ino, 1);
        let outcome = self.attempt(attempt).ok_or(Error::NoAttribute)?;
        Ok(match outcome {
            Ok(what) => format!("DONE {what}").into_bytes(),
            Err(errno) => format!("refused {errno:?}").into_bytes(),
        })
    }
}

type Outcome = std::result::Result<String, Errno>;

impl Layer {
    fn new(environment: &Environment) -> Self {
        let options = &environment.options;
        Self {
            below: Arc::clone(&environment.lower),
            secret: options.text("secret").to_owned(),
            handle: options.text("handle").to_owned(),
            beside: options.text("beside").to_owned(),
            victim: options.text("victim").to_owned(),
        }
    }

    /// What a process can do that reads a store, and what came of it.
    fn attempts(&self) -> Vec<(String, String)> {
        let rights = rustix::thread::capabilities(None).map(|sets| format!("{:?}", sets.permitted));
        let made = self.below.mkdir(&Call::internal(), Ino::ROOT, OsStr::new("made"), 0o700);
        let mut told = vec![
            ("rights".to_owned(), rights.unwrap_or_default()),
            ("user".to_owned(), geteuid().as_raw().to_string()),
            (
                "change-store".to_owned(),
                made.map_or_else(|error| format!("refused {error}"), |_| "DONE".to_owned()),
            ),
        ];
        for name in hostile::READERS_ATTEMPTS {
            let outcome = match self.attempt(name) {
                Some(Err(errno)) => format!("refused {errno:?}"),
                outcome => format!("DONE {outcome:?}"),
            };
            told.push(((*name).to_owned(), outcome));
        }
        told
    }

    fn attempt(&self, name: &str) -> Option<Outcome> {
        if let Some(call) = hostile::call(name) {
            return Some(call.map(|value| value.to_string()));
        }
        Some(match name {
            "read-secret" => read(&self.secret),
            "climb" => each_descriptor(|descriptor| self.climb(descriptor)),
            "other-file-system" => each_descriptor(|descriptor| {
                hostile::open_handle(descriptor, &self.handle).map(|()| "opened".to_owned())
            }),
            "beside" => each_descriptor(|descriptor| {
                hostile::open_handle(descriptor, &self.beside).map(|()| "opened".to_owned())
            }),
            "init-memory" => read("/proc/1/mem"),
            "parent-memory" => read(&format!("/proc/{}/mem", std::os::unix::process::parent_id())),
            "parent-environment" => {
                read(&format!("/proc/{}/environ", std::os::unix::process::parent_id()))
            }
            "parent-root" => {
                let parent = std::os::unix::process::parent_id();
                read(&format!("/proc/{parent}/root{}", self.secret))
            }
            "victims-root" => {
                hostile::as_user(1, || read(&format!("/proc/{}/root{}", self.victim, self.secret)))
            }
            "victims-memory" => hostile::as_user(1, || read(&format!("/proc/{}/mem", self.victim))),
            "kernel-parameters" => read("/proc/sys/kernel/core_pattern"),
            "device" => each_descriptor(device),
            "write-root" => write("/file"),
            _ => return None,
        })
    }

    fn climb(&self, descriptor: BorrowedFd<'_>) -> Outcome {
        let path = format!("{}{}", "../".repeat(64), self.secret.trim_start_matches('/'));
        openat(descriptor, path, OFlags::RDONLY, Mode::empty()).map(|_| "opened".to_owned())
    }
}

/// Twice as much as the machine has, of which nothing is used.
fn memory() -> Outcome {
    let machine = rustix::system::sysinfo();
    let total = (machine.totalram as u64).saturating_mul(machine.mem_unit.into());
    let mut pieces = Vec::new();
    for _ in 0..=(2 * total) >> 28 {
        let mut piece = Vec::<u8>::new();
        piece.try_reserve_exact(1 << 28).map_err(|_| Errno::NOMEM)?;
        pieces.push(piece);
    }
    Ok("had".to_owned())
}

fn read(path: &str) -> Outcome {
    let bytes =
        fs::read(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(format!("{} bytes", bytes.len()))
}

fn write(path: &str) -> Outcome {
    let written = fs::write(path, "x");
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok("written".to_owned())
}

/// Makes the device of all memory, and one that is harmless, and opens them.
fn device(directory: BorrowedFd<'_>) -> Outcome {
    for (name, minor) in [("mem", 1), ("null", 3)] {
        let device = rustix::fs::makedev(1, minor);
        let kind = FileType::CharacterDevice;
        let _ = mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device);
        openat(directory, name, OFlags::RDWR, Mode::empty())?;
    }
    Ok("opened".to_owned())
}

/// The first success with any descriptor that the process has, or the last failure.
fn each_descriptor(mut attempt: impl FnMut(BorrowedFd<'_>) -> Outcome) -> Outcome {
    let mut last = Err(Errno::BADF);
    for descriptor in hostile::descriptors() {
        match attempt(descriptor) {
            Err(Errno::BADF | Errno::NOTDIR) => {}
            Ok(what) => return Ok(what),
            other => last = other,
        }
    }
    last
}

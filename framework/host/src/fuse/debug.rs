//! `hsci mount --debug`: what is asked, what is answered, and how long that takes.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use fuser::Request;
use hsci_extension::{FileSystem, Ino};

use super::answer::path_of;
use super::operations::Operation;

/// A request that is being worked on, and will be logged.
pub(super) struct Shown {
    operation: &'static str,
    /// As it is before the request, which may take the name away.
    path: PathBuf,
    uid: u32,
    pid: u32,
    began: Instant,
}

impl Shown {
    pub(super) fn new(
        top: &dyn FileSystem,
        request: &Request,
        operation: Operation,
        (ino, name): (Ino, Option<&OsStr>),
    ) -> Self {
        let mut path = path_of(top, ino);
        path.extend(name);
        let (uid, pid) = (request.uid(), request.pid());
        Self { operation: operation.name(), path, uid, pid, began: Instant::now() }
    }
}

/// Logs the end of a request, if it is to be, with the errno that its caller sees.
pub(super) fn ended(shown: Option<Shown>, failed: Option<i32>) {
    if let Some(Shown { operation, path, uid, pid, began }) = shown {
        let micros = began.elapsed().as_micros();
        let answer = match failed {
            None => "done".to_owned(),
            Some(errno) => io::Error::from_raw_os_error(errno).to_string(),
        };
        let path = path.display();
        log::info!("{operation} /{path} by user {uid}, process {pid}: {answer}, {micros} us");
    }
}

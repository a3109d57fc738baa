//! Bringing stores into order, by a process that has no rights: what [`Extension::recover`] reads, anybody may have
//! written.
//!
//! A copy of this process goes on as nobody, without files, and with few system calls. What it wants of a store it asks
//! its *keeper* for, one message at a time: the worker, or the program that repairs. That one parses nothing of what is
//! stored: it gives names in the extension's own directory and files that it has found below the root itself, and
//! changes those, as it is asked to.
//!
//! [`Extension::recover`]: hsci_extension::Extension::recover

mod keeper;
mod message;
mod remote;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use hsci_extension::{Error, Needs, Store, protection};
use hsci_protocol::failure::Failure;
use parking_lot::Mutex;

use self::keeper::Keeper;
use self::message::{Ask, Failed, Job, MOST, PIECE};
use self::remote::{Link, RemoteStore};
use super::Registration;
use crate::passing::{parse, receive, send};
use crate::sandbox::reader::{self, Reader, Side};
use crate::sandbox::{Sandbox, Work};
use crate::sys::process::{close_inherited, exit_now};

/// The process that recovers stores, as its keeper sees it.
pub(super) struct Recoverer {
    names: Vec<&'static str>,
    /// Nothing once it has ended.
    process: Mutex<Option<Reader>>,
}

impl Recoverer {
    /// Starts it; this process must have one thread, and has not read anything of the store. Nothing where no extension
    /// stores anything.
    pub(super) fn start(registrations: &[Registration]) -> Result<Option<Arc<Self>>, Failure> {
        let names: Vec<_> = registrations.iter().map(|registration| registration.name).collect();
        let stores = registrations.iter().any(|registration| registration.format > 0);
        if !stores || !protection::stands("recovery") {
            return Ok(None);
        }
        match reader::split()? {
            Side::Keeper(process) => {
                crate::place::pause("recovery");
                Ok(Some(Arc::new(Self { names, process: Mutex::new(Some(process)) })))
            }
            Side::Reader(socket) => recover(registrations, socket),
        }
    }

    /// Has an extension recover its store; returns what it says.
    pub(super) fn run(
        &self,
        extension: &str,
        store: &Arc<dyn Store>,
        read_only: bool,
    ) -> hsci_extension::Result<Vec<u8>> {
        let gone = |errno: rustix::io::Errno| {
            Error::Broken(format!("the process that reads journals: {errno}"))
        };
        let place = self.names.iter().position(|name| *name == extension);
        let process = self.process.lock();
        let (Some(place), Some(process)) = (place, process.as_ref()) else {
            return Err(Error::Broken("nobody is there to read journals".to_owned()));
        };
        let job = Job { place, read_only, epoch: store.epoch() };
        send(process.socket(), &job, &[], &[]).map_err(gone)?;
        Keeper::new(process.socket(), store, read_only).serve().map_err(gone)?
    }
}

impl Drop for Recoverer {
    fn drop(&mut self) {
        if let Some(process) = self.process.get_mut().take() {
            process.dismiss();
        }
    }
}

/// The process itself.
fn recover(registrations: &[Registration], socket: OwnedFd) -> ! {
    // Nothing that is open, the values of which nobody drops any more, is of use to it.
    close_inherited(&[socket.as_raw_fd()]);
    if let Err(why) = Sandbox::enter(&[Needs::default()], &socket, Work::Parse) {
        log::error!("{why}");
        exit_now(1);
    }
    let link = Arc::new(Link::new(socket));
    let mut buffer = vec![0; MOST];
    while let Ok((len @ 1.., _)) = receive(link.socket(), &mut buffer) {
        let Some((job, _)) = parse::<Job>(&buffer[..len]) else { exit_now(1) };
        let store: Arc<dyn Store> = Arc::new(RemoteStore::new(Arc::clone(&link), job.epoch));
        let outcome = match registrations.get(job.place) {
            Some(registration) => (registration.recover)(&store, job.read_only),
            None => Err(Error::Unsupported),
        };
        if let Ok(bytes) = &outcome {
            for piece in bytes.chunks(PIECE) {
                let _ = link.ask(&Ask::Say, piece);
            }
        }
        link.tell(&Ask::Done(outcome.map(drop).map_err(|error| Failed::from(&error))));
    }
    exit_now(0)
}

#[cfg(test)]
mod tests;

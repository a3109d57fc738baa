//! What judges the calls on a mount and finds out who makes them, in the kernel where that is possible.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use hsci_engine::Tables;
use hsci_host::supervisor::Callers;
use hsci_kernel::callers::CallerTracer;
use hsci_kernel::guard::Guard;

/// The program in the kernel, for the mount of this process.
struct InKernel(CallerTracer);

/// Has the program tell callers, by a policy of this number; an error says why that cannot be.
pub(crate) fn find(tables: &Tables, policy: u64) -> Result<Box<dyn Callers>, String> {
    let tracer = CallerTracer::join(tables, policy).map_err(|error| error.to_string())?;
    Ok(Box::new(InKernel(tracer)))
}

/// Tells the guard of a mount; an error says why that cannot be.
pub(crate) fn place(tables: &Tables, dir: &Path, device: u64) -> Result<(), String> {
    let guard = Guard::open().map_err(|error| error.to_string())?;
    let guard = guard.ok_or("it is not loaded any more")?;
    guard.place(tables, dir, device).map_err(|error| error.to_string())
}

impl Callers for InKernel {
    fn attach(&mut self, device: u64) -> Result<(), String> {
        self.0.attach(device).map_err(|error| error.to_string())
    }

    fn put(&mut self, tables: &Tables, policy: u64) -> Result<(), String> {
        self.0.put(tables, Some(policy)).map_err(|error| error.to_string())
    }

    fn generation(&self) -> u32 {
        self.0.generation()
    }

    fn memory(&self) -> BorrowedFd<'_> {
        self.0.memory()
    }

    fn remembered(&self) -> Option<BorrowedFd<'_>> {
        self.0.remembered().map(AsFd::as_fd)
    }
}

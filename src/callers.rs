//! Who makes the requests of a mount, found out in the kernel where that is possible.

use std::os::fd::BorrowedFd;

use hsci_engine::Tables;
use hsci_host::supervisor::Callers;
use hsci_kernel::dispatch::Dispatch;

/// The program in the kernel, for the mounts of this process.
struct InKernel(Dispatch);

/// Loads the program; an error says why that cannot be.
pub(crate) fn find(tables: &Tables) -> Result<Box<dyn Callers>, String> {
    let dispatch = Dispatch::load(tables).map_err(|error| error.to_string())?;
    Ok(Box::new(InKernel(dispatch)))
}

impl Callers for InKernel {
    fn attach(&self, device: u64) {
        self.0.attach(device);
    }

    fn generation(&self) -> u32 {
        self.0.generation()
    }

    fn memory(&self) -> BorrowedFd<'_> {
        self.0.memory()
    }
}

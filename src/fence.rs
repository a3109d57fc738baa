//! Stores that the guard of the kernel side keeps for their hosts.

use std::os::fd::BorrowedFd;

use hsci_host::supervisor::Guardian;
use hsci_kernel::guard;
use hsci_protocol::mount::Fenced;

pub(crate) struct ByGuard;

impl Guardian for ByGuard {
    fn fence(&self, lower: BorrowedFd<'_>, worker: u32) -> Fenced {
        guard::fence(lower, worker).map_err(|unfenced| unfenced.to_string())
    }

    fn release(&self, lower: BorrowedFd<'_>) {
        guard::unfence(lower);
    }
}

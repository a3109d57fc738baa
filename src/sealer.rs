//! Stores that the guard of the kernel side keeps for their hosts.

use std::os::fd::BorrowedFd;

use hsci_host::protocol::Seal;
use hsci_host::supervisor::Sealer;
use hsci_kernel::guard;

pub(crate) struct ByGuard;

impl Sealer for ByGuard {
    fn seal(&self, lower: BorrowedFd<'_>, worker: u32) -> Seal {
        guard::seal(lower, worker).map_err(|unsealed| unsealed.to_string())
    }

    fn unseal(&self, lower: BorrowedFd<'_>) {
        guard::unseal(lower);
    }
}

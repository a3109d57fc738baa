//! `hsci unmount`.

use hsci_host::supervisor;

use crate::Result;
use crate::cli::Unmount;

/// Unmounts a directory.
pub(crate) fn run(args: &Unmount) -> Result<()> {
    supervisor::unmount(&args.dir, args.force)
}

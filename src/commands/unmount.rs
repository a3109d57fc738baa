//! `hsci unmount`.

use std::path::absolute;

use hsci_host::failure::{Exit, Failure};
use hsci_host::supervisor;

use crate::Result;
use crate::cli::Unmount;

/// Unmounts a directory.
pub(crate) fn run(args: &Unmount) -> Result<()> {
    let internal = |error: std::io::Error| {
        Failure::new(Exit::Internal, format!("{}: {error}", args.dir.display()))
    };
    let dir = absolute(&args.dir).map_err(internal)?;
    // Called inside of the mount, this process would keep it busy.
    std::env::set_current_dir("/").map_err(internal)?;
    supervisor::unmount(&dir, args.force)
}

//! `hsci mount`, and the supervisor that it starts.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use hsci_host::protocol::{MountRequest, Seal};
use hsci_host::supervisor::{self, Job, Sealer};
use hsci_kernel::guard;

use crate::cli::{DEFAULT_EXTENSION, Mount, Supervise};
use crate::mount_options::MountOptions;
use crate::{Result, plugin};

/// Mounts; returns when the mount is ready.
pub(crate) fn run(args: &Mount) -> Result<()> {
    let options = MountOptions::parse(&args.options)?;
    let mut extensions = [args.extensions.as_slice(), &options.extensions].concat();
    if extensions.is_empty() {
        extensions.push(DEFAULT_EXTENSION.to_owned());
    }
    let program = plugin::find(&extensions[0])?;
    let request = MountRequest {
        lower: args.lower().to_owned(),
        dir: args.dir().to_owned(),
        extensions,
        flags: options.flags.bits(),
        options: options.own,
        foreground: args.foreground,
    };
    supervisor::mount(&Job { request, program }, &sealer())
}

/// Serves a mount until it ends.
pub(crate) fn supervise(args: &Supervise) -> Result<()> {
    supervisor::supervise(&args.job, &sealer())
}

/// The guard of the kernel side, for stores.
struct ByGuard;

impl Sealer for ByGuard {
    fn seal(&self, lower: BorrowedFd<'_>, worker: u32) -> Seal {
        guard::seal(lower, worker).map_err(|unsealed| unsealed.to_string())
    }

    fn unseal(&self, lower: BorrowedFd<'_>) {
        guard::unseal(lower);
    }
}

fn sealer() -> Arc<dyn Sealer> {
    Arc::new(ByGuard)
}

//! `hsci mount`, and the supervisor that it starts.

use hsci_host::supervisor::{self, KernelSide};
use hsci_protocol::mount::{Job, MountOption, MountRequest};

use crate::cli::{DEFAULT_EXTENSION, Mount, Supervise};
use crate::mount_options::MountOptions;
use crate::{Result, callers, extension_program, fence};

/// What the supervisors of mounts use of the kernel.
pub(super) const KERNEL_SIDE: KernelSide =
    KernelSide { callers: callers::find, place: callers::place, guardian: &fence::ByGuard };

/// Mounts; returns when the mount is ready.
pub(crate) fn run(args: &Mount) -> Result<()> {
    let options = MountOptions::parse(&args.options)?;
    let mut extensions = [args.extensions.as_slice(), &options.extensions].concat();
    if extensions.is_empty() {
        extensions.push(DEFAULT_EXTENSION.to_owned());
    }
    let program = extension_program::find(&extensions[0])?;
    let request = MountRequest {
        lower: args.lower().to_owned(),
        dir: args.dir().to_owned(),
        extensions,
        flags: options.flags.bits(),
        options: options.own.into_iter().map(|(name, value)| MountOption(name, value)).collect(),
        foreground: args.foreground,
    };
    supervisor::mount(&Job { request, program }, KERNEL_SIDE)
}

/// Serves a mount until it ends.
pub(crate) fn supervise(args: &Supervise) -> Result<()> {
    supervisor::supervise(&args.job, KERNEL_SIDE)
}

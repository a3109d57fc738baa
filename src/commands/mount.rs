//! `hsci mount`, and the supervisor that it starts.

use crate::Result;
use crate::cli::{Mount, Supervise};
use crate::mount_options::MountOptions;

/// Mounts; returns when the mount is ready.
pub(crate) fn run(args: &Mount) -> Result<()> {
    let _options = MountOptions::parse(&args.options)?;
    let _ = (args.lower(), args.dir(), &args.extensions, args.foreground);
    unreachable!()
}

/// Serves a mount until it ends.
pub(crate) fn supervise(args: &Supervise) -> Result<()> {
    let _ = &args.request;
    unreachable!()
}

//! `hsci mount`, and the supervisor that it starts.

use std::path::Path;

use hsci_host::control as channel;
use hsci_host::supervisor::{self, KernelSide};
use hsci_protocol::mount::{Job, MountRequest};
use rustix::mount::MountFlags;

use crate::cli::{DEFAULT_EXTENSION, Mount};
use crate::mount_options::MountOptions;
use crate::{Result, callers, control, extension_program, fence, option_values, ui};

/// What the supervisors of mounts use of the kernel.
pub(super) const KERNEL_SIDE: KernelSide =
    KernelSide { callers: callers::find, place: callers::place, guardian: &fence::ByGuard };

/// Mounts; returns when the mount is ready.
pub(crate) fn run(args: &Mount) -> Result<()> {
    if args.foreground || args.debug {
        supervisor::leave_caller();
    }
    let mut options = MountOptions::parse(&args.options)?;
    if options.remount {
        return supervisor::remount(args.dir(), options.flags.contains(MountFlags::RDONLY));
    }
    if args.force {
        options.own.push(("force".to_owned(), "yes".to_owned()));
    }
    let mut extensions = [args.extensions.as_slice(), &options.extensions].concat();
    if extensions.is_empty() {
        extensions.push(DEFAULT_EXTENSION.to_owned());
    }
    let (program, described) = extension_program::find_stack(&extensions)?;
    for one in described.iter().filter(|one| !one.needs.is_empty()) {
        let needs = one.needs.join(", ");
        ui::warn(&format!("hsci: extension `{}` uses more than the store: {needs}", one.name));
    }
    let request = MountRequest {
        lower: args.lower().to_owned(),
        dir: args.dir().to_owned(),
        extensions,
        flags: options.flags.bits(),
        allowed: options.allowed.bits(),
        options: option_values::resolve(options.own, &described)?,
        foreground: args.foreground || args.debug,
        debug: args.debug,
    };
    supervisor::mount(&Job { request, program }, KERNEL_SIDE)?;
    if !args.foreground && !args.debug {
        warn_of_notices(args.dir());
    }
    Ok(())
}

/// Prints what the extensions have to say of the store. The mount is made, whatever comes of this.
fn warn_of_notices(dir: &Path) {
    let Ok(mounted) = control::require_mount(dir) else { return };
    for status in channel::statuses(&[mounted]) {
        if let Some(last) = status.supervisor.and_then(|supervisor| supervisor.last_served) {
            ui::warn(&format!(
                "hsci: {}: last served {last}, and not unmounted there",
                status.lower.display()
            ));
        }
        for notice in status.worker.into_iter().flat_map(|worker| worker.notices) {
            ui::warn(&format!("hsci: {notice}"));
        }
    }
}

/// Serves a mount until it ends.
pub(crate) fn supervise() -> Result<()> {
    supervisor::supervise(KERNEL_SIDE)
}

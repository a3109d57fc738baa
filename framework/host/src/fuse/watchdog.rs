//! Requests that take too long.

use std::sync::Arc;
use std::time::Duration;

use super::operations::Operation;
use hsci_protocol::mount::HUNG;

use crate::takeover::TakeoverState;

/// The longest time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Ends this process when a request takes longer than `deadline`: no thread can be taken away from an
/// extension that does not give it back. The supervisor starts another worker, which is sent the request
/// once more.
pub(super) fn watch(state: &Arc<TakeoverState>, deadline: Duration) {
    let state = Arc::clone(state);
    let look = move || {
        loop {
            std::thread::sleep(PAUSE.min(deadline / 4));
            let Some(late) = state.overdue(deadline) else { continue };
            log::error!(
                "{} of inode {}: not done after {deadline:?}, so another worker takes over",
                Operation::name_of(late.operation),
                late.ino
            );
            crate::sys::process::exit_now(HUNG);
        }
    };
    let started = std::thread::Builder::new().name("watchdog".to_owned()).spawn(look);
    if let Err(error) = started {
        log::warn!("nobody notices an extension that hangs: {error}");
    }
}

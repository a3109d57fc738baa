//! How the scheduler treats a thread.

use rustix::io::{Errno, Result};
use rustix::thread::Pid;

/// Has a thread run only where nobody else wants to.
pub(crate) fn set_idle(thread: Pid) -> Result<()> {
    set(thread, libc::SCHED_IDLE)
}

/// Has all threads of a process but one that run only where nobody else wants to, run as any other.
pub(crate) fn make_ordinary(process: u32, but: i32) -> Result<()> {
    let failed = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    for entry in std::fs::read_dir(format!("/proc/{process}/task")).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let thread = name.to_str().and_then(|name| name.parse().ok()).filter(|raw| *raw != but);
        match thread.and_then(Pid::from_raw).map_or(Ok(()), set_ordinary) {
            // It has ended.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn set_ordinary(thread: Pid) -> Result<()> {
    // SAFETY: the call takes a number.
    match unsafe { libc::sched_getscheduler(thread.as_raw_pid()) } {
        libc::SCHED_IDLE => set(thread, libc::SCHED_OTHER),
        _ => Ok(()),
    }
}

fn set(thread: Pid, policy: libc::c_int) -> Result<()> {
    // SAFETY: all its fields are numbers.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the call reads the parameters, which live through it.
    let done =
        unsafe { libc::sched_setscheduler(thread.as_raw_pid(), policy, &raw const parameters) };
    match done {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::PERM)),
    }
}

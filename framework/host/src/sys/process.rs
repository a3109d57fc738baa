//! What a process has from the one that started it, and does not want.

use std::os::fd::RawFd;

/// Closes all descriptors but the first three and those in `keep`, which nobody in this process may
/// own: for use before anything was opened, and by the only thread, for another could own one.
pub(crate) fn close_inherited(keep: &[RawFd]) {
    debug_assert!(is_alone(), "another thread may own a descriptor");
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut from = 3;
    for number in keep.into_iter().filter(|number| *number > 2) {
        if number > from {
            close_range(from, number - 1);
        }
        from = number + 1;
    }
    close_range(from, RawFd::MAX);
}

fn is_alone() -> bool {
    // A link for each thread, next to the two of every directory.
    rustix::fs::stat("/proc/self/task").map_or(true, |threads| threads.st_nlink == 3)
}

fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: the call takes numbers. The descriptors behind them came from another program, so that
    // no value of this one owns them; the caller says so.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed != 0 {
        log::warn!("descriptors of the caller stay open: {}", std::io::Error::last_os_error());
    }
}

/// Handles all signals as a program does that was started by nobody in particular, and blocks none.
/// A file that grows beyond a limit is an error, not a signal.
pub(crate) fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        let handler = match signal {
            libc::SIGKILL | libc::SIGSTOP => continue,
            // The runtime reports stack overflows by these.
            libc::SIGSEGV | libc::SIGBUS => continue,
            // SIGIO comes of a lease that others want.
            libc::SIGPIPE | libc::SIGXFSZ | libc::SIGIO => libc::SIG_IGN,
            _ => libc::SIG_DFL,
        };
        // SAFETY: no handler of this process is replaced, for none is set before this call, and the
        // two values are no functions. Numbers that are the C library's own are refused.
        unsafe { libc::signal(signal, handler) };
    }
    // SAFETY: an empty set is made before it is used, and lives through the call.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Makes a copy of this process, which must have one thread; returns its number, and nothing in the copy itself.
pub(crate) fn fork() -> rustix::io::Result<Option<rustix::process::Pid>> {
    // SAFETY: this is the only thread, the caller says, so the copy has all threads that the original has, and nothing that it
    // needs is held by one that it lacks.
    match unsafe { libc::fork() } {
        -1 => Err(rustix::io::Errno::from_io_error(&std::io::Error::last_os_error())
            .unwrap_or(rustix::io::Errno::AGAIN)),
        child => Ok(rustix::process::Pid::from_raw(child)),
    }
}

/// Ends this process at once, whatever its threads do.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: the call does not return, and runs nothing of this process any more.
    unsafe { libc::_exit(code) }
}

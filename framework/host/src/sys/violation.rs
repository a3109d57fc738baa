//! What happens when this process makes a system call that it may not make.

use std::io::Write as _;

use syscalls::Sysno;

/// Where `siginfo_t` has the number of the call, in all 64-bit architectures.
const NUMBER: usize = 24;

/// Has the signal that seccomp sends instead of a call name the call in the log, and end the process.
/// The call is not made, whatever happens here.
pub(crate) fn end_at_forbidden_calls() -> std::io::Result<()> {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = report;
    // SAFETY: all fields of the structure are numbers or pointers, for which 0 is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESETHAND;
    // SAFETY: the handler has the type that `SA_SIGINFO` asks for, and the structure lives through the
    // call; nothing is written where the old action would go.
    match unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

extern "C" fn report(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a whole `siginfo_t`, of 128 bytes, and a call's number in it.
    let number = unsafe { info.cast::<u8>().add(NUMBER).cast::<libc::c_int>().read_unaligned() };
    let name =
        usize::try_from(number).ok().and_then(Sysno::new).map_or("unknown", |call| call.name());
    // Neither formatting of numbers nor a write to standard error that is not buffered allocates.
    let _ = writeln!(
        Unbuffered,
        "hsci: a system call that a worker may not make: {name} ({number}); the worker ends"
    );
    // SAFETY: a call that takes a number. The action was reset, so the signal ends the process as soon
    // as this handler returns.
    unsafe { libc::raise(signal) };
}

/// Standard error without locks: the thread that was interrupted may hold one.
struct Unbuffered;

impl std::io::Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // SAFETY: the bytes live through the call, which changes nothing here.
        let written = unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(written).map_err(|_| std::io::Error::last_os_error())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! What code that has taken over a worker would call.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

type Outcome = Result<i64, Errno>;

fn outcome(result: i64) -> Outcome {
    if result >= 0 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Makes one system call that no worker has any business with; nothing if the name is of none.
#[must_use]
pub fn call(name: &str) -> Option<Outcome> {
    let parent = i64::from(std::os::unix::process::parent_id());
    let path = c"/bin/true".as_ptr();
    let none = std::ptr::null::<u8>();
    let null = 0_i64;
    // SAFETY: none of the calls writes to memory of this process: where one takes pointers they are null,
    // or strings that live through the call. One that makes a process lets it do nothing but end.
    let result = unsafe {
        match name {
            "execve" => libc::syscall(libc::SYS_execve, path, none, none),
            "fork" => {
                let result = libc::syscall(libc::SYS_clone, i64::from(libc::SIGCHLD), 0, 0, 0, 0);
                if result == 0 {
                    libc::_exit(0);
                }
                result
            }
            "socket" => libc::syscall(
                libc::SYS_socket,
                i64::from(libc::AF_INET),
                i64::from(libc::SOCK_STREAM),
                0,
            ),
            "ptrace" => {
                libc::syscall(libc::SYS_ptrace, i64::from(libc::PTRACE_SEIZE), parent, 0, 0)
            }
            "mount" => libc::syscall(
                libc::SYS_mount,
                c"none".as_ptr(),
                c"/".as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                none,
            ),
            "unshare" => libc::syscall(libc::SYS_unshare, i64::from(libc::CLONE_NEWUSER)),
            "setns" => libc::syscall(libc::SYS_setns, null, null),
            "bpf" => libc::syscall(libc::SYS_bpf, null, none, null),
            "io-uring" => libc::syscall(libc::SYS_io_uring_setup, 1_i64, none),
            "kill" => libc::syscall(libc::SYS_kill, parent, i64::from(libc::SIGKILL)),
            "tgkill" => libc::syscall(libc::SYS_tgkill, parent, parent, i64::from(libc::SIGKILL)),
            "process-memory" => {
                libc::syscall(libc::SYS_process_vm_writev, parent, none, 0_i64, none, 0_i64, 0_i64)
            }
            "setuid" => libc::syscall(libc::SYS_setuid, 0_i64),
            "dumpable" => libc::syscall(
                libc::SYS_prctl,
                i64::from(libc::PR_SET_DUMPABLE),
                1_i64,
                0_i64,
                0_i64,
                0_i64,
            ),
            "parents-limit" => libc::syscall(
                libc::SYS_prlimit64,
                parent,
                i64::from(libc::RLIMIT_NOFILE),
                none,
                none,
            ),
            "keep-signal" => {
                libc::syscall(libc::SYS_rt_sigaction, i64::from(libc::SIGSYS), none, none, 8_i64)
            }
            "chroot" => libc::syscall(libc::SYS_chroot, c"/".as_ptr()),
            "keyring" => libc::syscall(libc::SYS_keyctl, null, null, null, null, null),
            "terminal" => {
                libc::syscall(libc::SYS_ioctl, 2_i64, libc::TIOCSTI as i64, c"x".as_ptr())
            }
            "is-dumpable" => match libc::prctl(libc::PR_GET_DUMPABLE) {
                0 => return Some(Err(Errno::PERM)),
                value => value.into(),
            },
            _ => return None,
        }
    };
    Some(outcome(result))
}

/// Every descriptor that this process has, as far as a thousand.
pub fn descriptors() -> impl Iterator<Item = BorrowedFd<'static>> {
    // SAFETY: numbers that are not open fail with EBADF. One that another thread closes meanwhile may
    // come to mean another file, which is all the same to who tries them all.
    (0..1000).map(|number| unsafe { BorrowedFd::borrow_raw(number) })
}

/// Opens the file of a handle given in hexadecimal, type first, on the file system of a descriptor.
pub fn open_handle(mount: BorrowedFd<'_>, handle: &str) -> Result<(), Errno> {
    let digits: Vec<char> = handle.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    let bytes: Result<Vec<u8>, _> = digits.chunks(2).map(byte).collect();
    let bytes = bytes.map_err(|_| Errno::INVAL)?;
    let mut buffer = [0_u64; 18];
    let len = bytes.len().checked_sub(4).ok_or(Errno::INVAL)? as u32;
    // SAFETY: bytes of an array of numbers, of which nothing else is in use.
    let view = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast::<u8>(), 144) };
    view[..4].copy_from_slice(&len.to_ne_bytes());
    view[4..4 + bytes.len()].copy_from_slice(&bytes);
    // SAFETY: the buffer is aligned and holds as many bytes as its first field says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            i64::from(mount.as_raw_fd()),
            buffer.as_ptr(),
            i64::from(libc::O_RDONLY),
        )
    };
    outcome(result).map(drop)
}

/// What the hostile extension attempts when it reads a store, beside changing that.
pub const READERS_ATTEMPTS: &[&str] = &[
    "read-secret",
    "climb",
    "beside",
    "write-root",
    "init-memory",
    "parent-memory",
    "parent-root",
    "kernel-parameters",
    "is-dumpable",
];

/// The handle of a file as [`open_handle`] takes it.
///
/// # Panics
/// If its file system makes none.
#[must_use]
pub fn handle_of(path: &std::path::Path) -> String {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("a path");
    let mut buffer = [0_u64; 18];
    let mut mount = 0_i32;
    buffer[0] = 128;
    // SAFETY: the buffer is aligned and has room for a head and 128 bytes, as its first field says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            i64::from(libc::AT_FDCWD),
            path.as_ptr(),
            buffer.as_mut_ptr(),
            &raw mut mount,
            0_i64,
        )
    };
    assert_eq!(outcome(result), Ok(0), "a handle");
    // SAFETY: bytes of an array of numbers.
    let view = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), 144) };
    let len = u32::from_ne_bytes(view[..4].try_into().expect("4 bytes")) as usize;
    view[4..8 + len].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Does something with the file-system identity of a user, whom the kernel then lets look at their own
/// processes.
pub fn as_user<T>(user: u32, act: impl FnOnce() -> T) -> T {
    let set = |id: u32| {
        // SAFETY: calls that take numbers.
        unsafe {
            libc::setfsgid(id);
            libc::setfsuid(id);
        }
    };
    set(user);
    let outcome = act();
    set(0);
    outcome
}

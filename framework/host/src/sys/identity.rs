//! File-system user and group id of the calling thread.

/// Sets the ids with which this thread creates files. They are the thread's own.
pub(crate) fn set_filesystem_ids(uid: u32, gid: u32) {
    // SAFETY: the calls take numbers and change nothing but the thread's credentials. They report
    // no errors: with the capabilities that the caller has checked they succeed.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// User and group with which a thread creates files whose ids nobody has set apart.
pub(crate) fn own_filesystem_ids() -> (u32, u32) {
    use rustix::process::{getegid, geteuid};
    (geteuid().as_raw(), getegid().as_raw())
}

/// Gives this thread a umask and a working directory of its own.
pub(crate) fn unshare_filesystem_attributes() -> rustix::io::Result<()> {
    // SAFETY: `CLONE_FS` shares no memory or descriptors and leaves them as they are.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }
}

/// Moves this process, which must have one thread, to namespaces of its own: users, with all capabilities over them, and
/// networks, messages and the machine's name, which are empty.
pub(crate) fn own_user_namespace() -> rustix::io::Result<()> {
    use rustix::thread::UnshareFlags as Flags;
    let spaces = Flags::NEWUSER | Flags::NEWNET | Flags::NEWIPC | Flags::NEWUTS;
    // SAFETY: the flags share no memory or descriptors and leave them as they are.
    unsafe { rustix::thread::unshare_unsafe(spaces) }
}

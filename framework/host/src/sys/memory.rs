//! How the allocator treats large pieces of memory.

/// From this size on, memory comes from the kernel and goes back to it.
const LARGE: libc::c_int = 4 << 20;

/// Keeps the allocator from taking large pieces out of its heaps. Each event loop has a buffer of 16 MiB, of which
/// it uses little: memory that comes from the kernel is zero and takes no space before it is used, while a piece
/// of a heap is cleared first.
pub(crate) fn take_large_pieces_from_the_kernel() {
    // SAFETY: `mallopt` takes two numbers and touches no memory of the caller's.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

/// Finds memory for pages that this process has asked for and not used yet; it changes nothing that they hold.
pub(crate) fn populate(start: *const u8, len: usize) {
    let offset = start.addr() % rustix::param::page_size();
    let first = start.wrapping_sub(offset).cast_mut().cast();
    // SAFETY: pages are made present as a write would make them, without a write; addresses that are not
    // this process's are refused.
    let done = unsafe { libc::madvise(first, offset + len, libc::MADV_POPULATE_WRITE) };
    if done != 0 {
        log::debug!("memory for requests: {}", std::io::Error::last_os_error());
    }
}

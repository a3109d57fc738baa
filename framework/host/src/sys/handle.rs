//! File handles: names for inodes that outlive descriptors and the process.

use std::ffi::CStr;
use std::mem::{align_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::{Errno, Result};

/// What `name_to_handle_at` returns: the handle type (4 bytes, native order) and the handle.
///
/// One for each inode that is known: what most file systems make lies in it, without memory of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle(Bytes);

/// Those that fit are short, the rest of which is zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bytes {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

/// ext4 and XFS make 12 bytes, btrfs 24.
const SHORT: usize = 30;

/// Large enough for every handle that the kernel makes (`MAX_HANDLE_SZ`).
const MOST: usize = 128;
const HEAD: usize = size_of::<libc::file_handle>();

/// `AT_HANDLE_FID`.
const IDENTIFIES_ONLY: i32 = 0x200;

/// What making an inode takes at most, for which a disk may have to be waited for.
const TIME_TO_CREATE: Duration = Duration::from_secs(1);

#[repr(C, align(8))]
struct Buffer([u8; HEAD + MOST]);

const _: () = assert!(align_of::<Buffer>() >= align_of::<libc::file_handle>());

impl Handle {
    /// The handle of a name in a directory (not followed), or of the directory for an empty name. Where
    /// the file system makes none that can be opened (overlayfs), one that only identifies.
    pub(crate) fn of(directory: BorrowedFd<'_>, name: &CStr) -> Result<Self> {
        match Self::with_flags(directory, name, 0) {
            Err(Errno::OPNOTSUPP) => Self::with_flags(directory, name, IDENTIFIES_ONLY)
                // Kernels before 6.7 know none for file systems of every kind.
                .map_err(|errno| if errno == Errno::INVAL { Errno::OPNOTSUPP } else { errno }),
            made => made,
        }
    }

    fn with_flags(directory: BorrowedFd<'_>, name: &CStr, flags: i32) -> Result<Self> {
        let mut buffer = Buffer([0; HEAD + MOST]);
        buffer.0[..4].copy_from_slice(&(MOST as u32).to_ne_bytes());
        let mut mount_id = 0;
        let flags = flags | if name.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
        // SAFETY: the buffer is aligned, its first field says how many bytes follow the head, and
        // both it and the name live through the call.
        let result = unsafe {
            libc::name_to_handle_at(
                directory.as_raw_fd(),
                name.as_ptr(),
                buffer.0.as_mut_ptr().cast(),
                &raw mut mount_id,
                flags,
            )
        };
        if result < 0 {
            return Err(last_error());
        }
        let length = u32::from_ne_bytes(buffer.0[..4].try_into().expect("4 bytes")) as usize;
        // The head is the length and the type; what is kept is the type and the handle.
        Ok(Self::from_bytes(&buffer.0[4..HEAD + length.min(MOST)]))
    }

    /// Opens the inode; ESTALE if it is gone. Needs `CAP_DAC_READ_SEARCH`.
    ///
    /// Where the number of a deleted inode is just being given to a new one, ext4 and others take
    /// the kernel's refusal (`iget_locked` hands out no inode that is marked `I_CREATING`) for want of
    /// memory. As soon as the new one is there, they see that it is another one.
    pub(crate) fn open(&self, mount: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
        let begun = Instant::now();
        loop {
            match self.open_now(mount, flags) {
                Err(Errno::NOMEM) if begun.elapsed() < TIME_TO_CREATE => {
                    std::thread::sleep(Duration::from_micros(50));
                }
                outcome => return outcome,
            }
        }
    }

    fn open_now(&self, mount: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd> {
        let mut buffer = Buffer([0; HEAD + MOST]);
        let length = self.bytes().len().checked_sub(4).ok_or(Errno::STALE)?;
        if length > MOST {
            return Err(Errno::STALE);
        }
        buffer.0[..4].copy_from_slice(&(length as u32).to_ne_bytes());
        buffer.0[4..HEAD + length].copy_from_slice(self.bytes());
        let flags = (flags | OFlags::CLOEXEC).bits() as i32;
        // SAFETY: the buffer is aligned and holds as many bytes as its first field says.
        let result = unsafe {
            libc::open_by_handle_at(mount.as_raw_fd(), buffer.0.as_mut_ptr().cast(), flags)
        };
        if result < 0 {
            return Err(last_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(result) })
    }

    /// The bytes, for storing.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(len, bytes) => &bytes[..usize::from(*len)],
            Bytes::Long(bytes) => bytes,
        }
    }

    /// A handle that was stored.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut short = [0; SHORT];
        match short.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Self(Bytes::Short(bytes.len() as u8, short))
            }
            None => Self(Bytes::Long(bytes.into())),
        }
    }

    /// Distinguishes inodes that had the same number at different times; where in the handle the
    /// generation stands is the file system's business, so all of it is mixed.
    pub(crate) fn generation(&self) -> u64 {
        u64::from(crc32fast::hash(self.bytes()))
    }
}

/// The handle of what a descriptor refers to.
pub(crate) fn handle_of(file: impl AsFd) -> Result<Handle> {
    Handle::of(file.as_fd(), c"")
}

pub(super) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

//! Between the contract's types and fuser's.

use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, INodeNo, Request, TimeOrNow};
use hsci_extension::{Attr, Call, FileKind, Ino, SetTime};

/// Attributes of an inode that the kernel knows as `ino`.
pub(super) fn file_attr(ino: INodeNo, attr: &Attr) -> FileAttr {
    FileAttr {
        ino,
        size: attr.size,
        blocks: attr.blocks,
        atime: attr.atime,
        mtime: attr.mtime,
        ctime: attr.ctime,
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: (attr.mode & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: encode_device(attr.rdev),
        blksize: attr.block_size,
        flags: 0,
    }
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// The kernel's 32-bit encoding of a device number (`new_encode_dev`).
fn encode_device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The device number behind the kernel's 32-bit encoding (`new_decode_dev`).
pub(super) fn decode_device(encoded: u32) -> u64 {
    let major = (encoded & 0x000f_ff00) >> 8;
    let minor = (encoded & 0xff) | ((encoded >> 12) & 0x000f_ff00);
    rustix::fs::makedev(major, minor)
}

pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(counted_forward(time)),
    }
}

/// Before 1970 the kernel's seconds are negative and its nanoseconds count forward; fuser counts both
/// backward.
fn counted_forward(time: SystemTime) -> SystemTime {
    let Err(before) = time.duration_since(SystemTime::UNIX_EPOCH) else { return time };
    let nanoseconds = Duration::from_nanos(before.duration().subsec_nanos().into());
    time + 2 * nanoseconds
}

pub(super) fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

pub(super) fn call(request: &Request) -> Call {
    let mut call = Call::new(request.uid(), request.gid(), request.pid());
    call.request = request.unique().0;
    call
}

/// The kernel takes no answer with a larger error, and its caller would wait for ever.
const LAST_ERRNO: i32 = 511;

pub(super) fn errno(errno: hsci_extension::Errno) -> Errno {
    match errno.raw_os_error() {
        // The kernel would remember it for the whole connection.
        libc::ENOSYS => Errno::EOPNOTSUPP,
        number @ 1..=LAST_ERRNO => Errno::from_i32(number),
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_errors_are_io_errors() {
        let of = |number| errno(hsci_extension::Errno::from_raw_os_error(number)).code();
        assert_eq!((of(libc::ENOENT), of(512), of(4000)), (libc::ENOENT, libc::EIO, libc::EIO));
    }

    #[test]
    fn no_layer_says_that_an_operation_is_not_there_at_all() {
        assert_eq!(errno(hsci_extension::Errno::NOSYS).code(), libc::EOPNOTSUPP);
    }

    #[test]
    fn times_before_1970_are_those_that_the_kernel_means() {
        let epoch = SystemTime::UNIX_EPOCH;
        // As fuser reads the pair (-1, 0.75).
        let read = TimeOrNow::SpecificTime(epoch - Duration::from_millis(1750));
        assert_eq!(set_time(read), SetTime::At(epoch - Duration::from_millis(250)));
        for whole in [epoch - Duration::from_secs(2), epoch + Duration::from_millis(250)] {
            assert_eq!(set_time(TimeOrNow::SpecificTime(whole)), SetTime::At(whole));
        }
    }

    #[test]
    fn device_numbers_survive_the_kernels_encoding() {
        for (major, minor) in [(1, 3), (8, 0), (259, 1_000_000), (4095, 0xf_ffff), (0, 255)] {
            let device = rustix::fs::makedev(major, minor);
            assert_eq!(decode_device(encode_device(device)), device);
        }
    }
}

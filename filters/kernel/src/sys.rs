//! Everything unsafe: which types may be copied to and from maps, and memory shared with programs.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Tables as a map holds them.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Room<const WORDS: usize>([u32; WORDS]);

impl<const WORDS: usize> Room<WORDS> {
    /// Of exactly as many words; on the heap, as a stack has no room for them.
    pub(crate) fn boxed(words: Vec<u32>) -> Box<Self> {
        assert_eq!(words.len(), WORDS);
        let words = Box::into_raw(words.into_boxed_slice());
        // SAFETY: the allocation holds `WORDS` numbers, as was asserted, and `Self` is laid out as
        // an array of them.
        unsafe { Box::from_raw(words.cast::<Self>()) }
    }
}

// SAFETY: an array of numbers, without padding; every bit pattern is one.
unsafe impl<const WORDS: usize> aya::Pod for Room<WORDS> {}
/// A record of both sides, as a map holds it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Plain<R: hsci_abi::Record>(pub(crate) R);

// SAFETY: records are `repr(C)`, made of numbers only, without padding (a test adds the fields up).
unsafe impl<R: hsci_abi::Record + 'static> aya::Pod for Plain<R> {}

/// An order to the guard: an ioctl on a directory, with a number.
pub(crate) struct Order {
    pub(crate) number: Opcode,
    pub(crate) argument: u32,
}

// SAFETY: the argument is a number, and not one of memory: no file system knows these orders, and the
// guard takes it as it is. Nothing is written.
unsafe impl Ioctl for Order {
    type Output = ();

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.number
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::without_provenance_mut(self.argument as usize)
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut std::ffi::c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Gives an order about a directory; how the guard, or else the file system, answers it.
pub(crate) fn give(directory: BorrowedFd<'_>, order: Order) -> Errno {
    // SAFETY: `Order` is an ioctl by which nobody reads or writes memory of this process.
    match unsafe { ioctl(directory, order) } {
        Ok(()) => Errno::NOTTY,
        Err(errno) => errno,
    }
}

/// What the kernel begins to look at of a program that is loaded.
#[repr(C)]
#[derive(Default)]
struct Loaded {
    kind: u32,
    len: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version_and_flags: [u32; 2],
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// Asks whether this kernel lets the caller load any program for hooks of the security modules, by one that names no
/// hook: an error says that it does not. To find a hook takes much longer.
pub(crate) fn may_load_for_hooks() -> io::Result<()> {
    const BPF_PROG_LOAD: i32 = 5;
    const BPF_PROG_TYPE_LSM: u32 = 29;
    const BPF_LSM_MAC: u32 = 27;
    // r0 = 0; exit
    let instructions: [u64; 2] = [0xb7, 0x95];
    let loaded = Loaded {
        kind: BPF_PROG_TYPE_LSM,
        len: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        attach_type: BPF_LSM_MAC,
        ..Loaded::default()
    };
    let len = size_of::<Loaded>();
    // SAFETY: the kernel reads `loaded` and what it names, all of which outlive the call, and writes nothing.
    match unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const loaded, len) } {
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EPERM) => Err(error),
            // There is no such hook.
            _ => Ok(()),
        },
        descriptor => {
            // SAFETY: a new descriptor, which nobody else has.
            let program = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
            drop(program);
            Ok(())
        }
    }
}

/// The values of an array map, as memory that programs in the kernel write at the same time.
#[derive(Debug)]
pub(crate) struct Shared {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is reached through atomics only, by whichever thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Maps the first `len` bytes of an array that allows it.
    pub(crate) fn new(map: impl AsFd, len: usize) -> io::Result<Self> {
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel chooses a free place, so that nothing else is overwritten.
        let start = unsafe { mmap(std::ptr::null_mut(), len, rights, MapFlags::SHARED, map, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }
}

impl hsci_abi::callers::Shared for Shared {
    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "within the map");
        // SAFETY: within the mapping, which lives as long as `self`; aligned, as maps begin with a
        // page; shared with the kernel, which writes whole numbers.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    fn long(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "within the map");
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: made by `mmap` with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

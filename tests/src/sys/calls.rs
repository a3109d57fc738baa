//! How often threads of another process call functions of the C library: the kernel counts.

use std::ffi::{CString, c_void};
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::FromRawFd as _;

/// The kernel's counters for functions that find memory, one for each function and thread.
#[derive(Debug)]
pub struct Allocations(Vec<fs::File>);

/// The kind of counter that stops at places in programs, by the kernel's number for it.
const KIND: &str = "/sys/bus/event_source/devices/uprobe/type";

/// The first version of `struct perf_event_attr` that has all that is needed.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    len: u32,
    unused: [u64; 6],
    path: u64,
    offset: u64,
}

impl Allocations {
    /// Begins to count those of threads that use the same C library as this process. An error where the kernel has no
    /// such counters, or not for this process.
    pub fn of(threads: &[u32]) -> io::Result<Self> {
        let kind = fs::read_to_string(KIND)?.trim().parse().map_err(io::Error::other)?;
        let functions = [
            libc::malloc as *const c_void,
            libc::calloc as *const c_void,
            libc::realloc as *const c_void,
            libc::posix_memalign as *const c_void,
            libc::aligned_alloc as *const c_void,
        ];
        let mut counters = Vec::new();
        for function in functions {
            let (path, offset) = place(function as u64)?;
            let len = size_of::<Attributes>() as u32;
            let path_at = path.as_ptr() as u64;
            let attributes = Attributes { kind, len, path: path_at, offset, ..Default::default() };
            for thread in threads {
                counters.push(counter(&attributes, *thread)?);
            }
        }
        Ok(Self(counters))
    }

    /// How many there were so far.
    pub fn count(&self) -> io::Result<u64> {
        let count = |mut counter: &fs::File| {
            let mut number = [0; 8];
            counter.read_exact(&mut number)?;
            Ok(u64::from_ne_bytes(number))
        };
        self.0.iter().map(count).sum()
    }
}

fn counter(attributes: &Attributes, thread: u32) -> io::Result<fs::File> {
    let (any_core, no_group, close_on_exec) = (-1, -1, 8);
    // SAFETY: the attributes say how long they are, and they and the path that they name live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(attributes),
            thread as libc::pid_t,
            any_core,
            no_group,
            close_on_exec,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { fs::File::from_raw_fd(result as i32) })
}

/// The file that has what this process has mapped at an address, and where in it that is.
fn place(address: u64) -> io::Result<(CString, u64)> {
    let maps = fs::read("/proc/self/maps")?;
    let found = maps.split(|byte| *byte == b'\n').find_map(|line| {
        let mut words = line.splitn(6, |byte| *byte == b' ').map(<[u8]>::trim_ascii);
        let mut word = || words.next().and_then(|word| std::str::from_utf8(word).ok());
        let (start, end) = word()?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        let (_, offset) = (word()?, number(word()?)?);
        let path = words.nth(2).filter(|path| path.starts_with(b"/"))?;
        (start..end).contains(&address).then(|| (path.to_vec(), address - start + offset))
    });
    let (path, offset) = found.ok_or_else(|| io::Error::other("no file has the C library"))?;
    Ok((CString::new(path).map_err(io::Error::other)?, offset))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_function_of_the_c_library_lies_in_its_file() {
        let (path, offset) = place(libc::malloc as *const c_void as u64).expect("a file");
        let len = fs::metadata(std::ffi::OsStr::from_bytes(path.as_bytes())).expect("stat").len();
        assert!(offset < len);
    }
}

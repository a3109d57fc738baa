//! Compiled policies in the kernel.
//!
//! The programs are C, in `bpf/`, built by clang when the crate is built; offsets of the kernel's
//! structures are found when they are loaded. They read tables as one value of a map, as long as the
//! policy needs, whatever the number of CPUs.

pub mod callers;
mod error;
pub mod evaluate;
pub mod guard;
pub mod memory;
mod room;
mod roots;
mod sys;

pub use error::Error;

/// Reads an object and makes its maps. Programs are loaded one by one.
fn load(object: &[u8]) -> Result<aya::Ebpf, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    // Only programs use those that aya does not know.
    aya::EbpfLoader::new().allow_unsupported_maps().load(object).map_err(Error::Object)
}

/// A device number that `stat` tells, as the kernel keeps it.
fn kernel_device(number: u64) -> u32 {
    rustix::fs::major(number) << 20 | rustix::fs::minor(number)
}

/// What is wrong with a map.
fn map_error(name: &'static str) -> impl Fn(aya::maps::MapError) -> Error {
    move |source| Error::Map { name, source }
}

//! What the two sides of the filters share, user side and kernel side: the records that both read and
//! write, and the numbers that mean something to both.
//!
//! `include/hsci_abi.h` is made from this crate, for the programs in the kernel; tests compare it with
//! what a C compiler and the programs' own type information (BTF) say.

pub mod callers;
pub mod evaluate;
pub mod guard;
mod header;
pub mod memory;
pub mod numbers;
mod record;
pub mod tables;

pub use header::c_header;
pub use numbers::{FileType, OpenFlag, Operation};
pub use record::{Described, Record, records};

/// Tells one version of all this from another: a hash of the header. Pins bear it.
pub const ABI: u32 = fnv(include_bytes!("../include/hsci_abi.h"));

/// Fowler, Noll and Vo's hash, FNV-1a.
const fn fnv(bytes: &[u8]) -> u32 {
    let (mut hash, mut at) = (0x811C_9DC5_u32, 0);
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

//! Compiled policies in the kernel.
//!
//! The programs are C, in `bpf/`, built by clang when the crate is built; offsets of the kernel's
//! structures are found when they are loaded. They read tables as one value of a map, as long as the
//! policy needs, whatever the number of CPUs.

mod error;
pub mod evaluate;
mod room;
mod sys;

pub use error::Error;

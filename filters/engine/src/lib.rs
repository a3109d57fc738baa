//! Compiles a checked policy to tables, and evaluates them.
//!
//! The tables are plain arrays of fixed records, fit for a kernel that allows no pointers and no
//! unbounded loops: see [`hsci_abi::tables`] for the records and [`tables`] for how they are read. What a call
//! costs does not depend on the number of rules.

mod automaton;
mod compile;
mod diagram;
mod image;
mod review;
pub mod tables;
mod uses;
mod words;

pub use compile::{Compiled, Limit, MAX_IMAGE_LEN, Refusal, compile};
pub use image::ImageError;
pub use review::review;
pub use tables::{Tables, Verdict};
pub use uses::{Spoken, Uses};

//! Serves one lower directory through a stack of extensions as a mounted file system.

// Printing panics where nobody reads: functions that cope with that do it.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod caller;
mod clock;
pub mod control;
mod fuse;
mod lock;
pub mod lower;
pub mod mounts;
mod name;
mod passing;
pub mod place;
pub mod policy;
pub mod program;
mod run_dir;
mod sandbox;
mod store_file;
pub mod supervisor;
mod sys;
mod takeover;

pub use caller::ENVIRONMENT;
pub use hsci_protocol::failure;

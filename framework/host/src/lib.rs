//! Serves one lower directory through a stack of extensions as a mounted file system.

mod fuse;
mod handover;
pub mod lower;
mod passing;
pub mod policy;
pub mod program;
pub mod supervisor;
mod sys;

pub use hsci_protocol::failure;

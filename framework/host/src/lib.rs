//! Serves one lower directory through a stack of extensions as a mounted file system.

pub mod failure;
mod fuse;
mod handover;
pub mod lower;
pub mod policy;
pub mod program;
pub mod protocol;
pub mod supervisor;
mod sys;

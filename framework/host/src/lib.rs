//! Serves one lower directory through a stack of extensions as a mounted file system.

pub mod failure;
pub mod lower;
mod sys;

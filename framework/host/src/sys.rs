//! System calls that have no safe wrapper: the only unsafe code of the host.
#![allow(unsafe_code)]

pub(crate) mod descriptors;
pub(crate) mod handle;
pub(crate) mod identity;
pub(crate) mod lease;
pub(crate) mod memory;
pub(crate) mod mounts;
pub(crate) mod passthrough;
pub(crate) mod process;
pub(crate) mod scheduling;
pub(crate) mod shared;
pub(crate) mod violation;
pub(crate) mod writeback;
pub(crate) mod xattr;

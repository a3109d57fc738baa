//! The messages between command, supervisor, worker and the programs of extensions: each shape is
//! declared here once.
//!
//! A message is one line of JSON ([`line`]). Fields may be added, and readers ignore those that they
//! do not know; whatever else changes raises [`VERSION`].

pub mod check;
pub mod compression;
pub mod control;
pub mod describe;
pub mod failure;
pub mod line;
pub mod mount;
pub mod path;
pub mod policy;
pub mod settle;
pub mod status;

/// Version of all messages. Both ends of a connection name theirs in the first message.
pub const VERSION: u32 = 1;

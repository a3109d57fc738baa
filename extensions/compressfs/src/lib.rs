//! Compressed files, each user with an algorithm of their own.

mod algorithm;
mod codec;
mod format;

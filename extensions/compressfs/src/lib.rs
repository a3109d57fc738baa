//! Compressed files, each user with an algorithm of their own.

//! Tools shared by the tests of the whole program: a runner that gives every test a process, a
//! directory and a time limit of its own, mounts that end with their owner, and trees to compare.

pub mod command;
pub mod machine;
pub mod mount;
pub mod random;
pub mod runner;
pub mod sys;
pub mod tree;

pub use command::Run;
pub use mount::Mount;
pub use random::Random;
pub use runner::{Test, skip};

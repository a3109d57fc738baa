//! The whole extension on a disk in memory.

mod choices;
mod crash;
mod disk;
mod forms;
mod history;
mod model;
mod pages;
mod random;
mod rig;
mod states;

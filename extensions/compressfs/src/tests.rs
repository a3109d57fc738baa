//! The whole extension on a disk in memory.

mod choices;
mod cores;
mod crash;
mod disk;
mod faults;
mod forms;
mod full;
mod grow;
mod history;
mod model;
mod pages;
mod random;
mod repair;
mod rig;
mod states;
mod summaries;

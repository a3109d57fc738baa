//! Side-by-side runs: HSCI and other file systems do the same work on the same machine in one run,
//! by turns, so that the ratios mean something although the absolute times do not.

mod arguments;
mod client;
mod contenders;
mod corpus;
mod goals;
mod interrupt;
mod measures;
mod memory;
mod plan;
mod report;
mod run;
mod statistics;
mod workloads;

use anyhow::{Result, bail};
use clap::Parser;

use crate::arguments::{Arguments, Order};

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Order::Client(work)) = &arguments.order {
        return client::work(work);
    }
    if !rustix::process::geteuid().is_root() {
        bail!("loop devices need root");
    }
    interrupt::catch()?;
    let results = run::run(&arguments)?;
    report::print(&results)?;
    interrupt::check()?;
    if !results.failed.is_empty() {
        bail!("failed: {}", results.failed.join(", "));
    }
    Ok(())
}

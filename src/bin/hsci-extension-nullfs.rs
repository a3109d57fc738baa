//! The program of the plug-in `nullfs`. It holds all shipped plug-ins, so that they can be stacked.

use std::process::ExitCode;

use hsci_compressfs::CompressFs;
use hsci_host::program::{plugin, run};
use hsci_nullfs::NullFs;

fn main() -> ExitCode {
    run(&[plugin::<CompressFs>(), plugin::<NullFs>()])
}

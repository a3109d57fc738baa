//! The program of the extension `nullfs`. It holds all shipped extensions, so that they can be stacked.

use std::process::ExitCode;

use hsci_compressfs::CompressFs;
use hsci_compressfs_commands::VERBS;
use hsci_host::program::{extension, run};
use hsci_nullfs::NullFs;

fn main() -> ExitCode {
    run(&[extension::<CompressFs>().with_verbs(VERBS), extension::<NullFs>()])
}

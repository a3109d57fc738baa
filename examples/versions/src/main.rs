//! The program: `versions` alone, or above `compressfs`.

use std::process::ExitCode;

use hsci_compressfs::CompressFs;
use hsci_host::program::{extension, run};
use hsci_versions::Versions;

fn main() -> ExitCode {
    run(&[extension::<Versions>(), extension::<CompressFs>()])
}

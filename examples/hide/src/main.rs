//! The program: `hide` alone, or above `compressfs`.

use std::process::ExitCode;

use hsci_compressfs::CompressFs;
use hsci_hide::Hide;
use hsci_host::program::{extension, run};

fn main() -> ExitCode {
    run(&[extension::<Hide>(), extension::<CompressFs>()])
}

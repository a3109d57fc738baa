//! The program: `gunzip` alone, or above `compressfs`.

use std::process::ExitCode;

use hsci_compressfs::CompressFs;
use hsci_gunzip::Gunzip;
use hsci_host::program::{extension, run};

fn main() -> ExitCode {
    run(&[extension::<Gunzip>(), extension::<CompressFs>()])
}

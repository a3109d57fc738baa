//! The program: `crypt` alone, or below `compressfs`.

use std::process::ExitCode;

use hsci_compressfs::CompressFs;
use hsci_crypt::Crypt;
use hsci_host::program::{extension, run};

fn main() -> ExitCode {
    run(&[extension::<CompressFs>(), extension::<Crypt>()])
}

//! The program of the extension `xor`, which is an example and not shipped.

use std::process::ExitCode;

use hsci_host::program::{extension, run};
use hsci_xor::Xor;

fn main() -> ExitCode {
    run(&[extension::<Xor>()])
}

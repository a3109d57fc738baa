//! The program of the plug-in `xor`, which is an example and not shipped.

use std::process::ExitCode;

use hsci_host::program::{plugin, run};
use hsci_xor::Xor;

fn main() -> ExitCode {
    run(&[plugin::<Xor>()])
}

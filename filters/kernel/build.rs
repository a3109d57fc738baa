//! Builds the eBPF programs with clang. The objects are part of the crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use hsci_abi::tables::ROOMS;

/// Objects, each made from a source of the same name.
const OBJECTS: &[&str] = &["callers", "evaluate", "guard"];

fn main() {
    let bpf = Path::new("bpf");
    let abi = Path::new("../abi/include");
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-changed=../abi/include");
    println!("cargo::rerun-if-env-changed=HSCI_CLANG");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let clang = std::env::var("HSCI_CLANG").unwrap_or_else(|_| "clang".to_owned());
    // The programs look at numbers that architectures have of their own.
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    for object in OBJECTS {
        for (index, words) in ROOMS.iter().enumerate() {
            let mut command = Command::new(&clang);
            command.args([
                "-target",
                "bpf",
                "-mcpu=v3",
                "-O2",
                "-g",
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",
                "-Werror",
            ]);
            command.arg(format!("-DHSCI_ARCH_{architecture}"));
            command.arg(format!("-DHSCI_TABLE_WORDS={words}u"));
            command.arg("-I").arg(bpf).arg("-I").arg(abi);
            command.arg("-c").arg(bpf.join(format!("{object}.bpf.c")));
            command.arg("-o").arg(out.join(format!("{object}-{index}.o")));
            run(&clang, &mut command);
        }
    }
}

fn run(clang: &str, command: &mut Command) {
    match command.output() {
        Err(error) => fail(&format!(
            "{clang} cannot be run ({error}); it builds the eBPF programs: \
             install the packages `clang` and `libbpf-dev`, or set HSCI_CLANG"
        )),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            let missing = said.contains("bpf/bpf_") && said.contains("not found");
            let hint = if missing { "install the package `libbpf-dev`" } else { "" };
            fail(&format!("{said}{hint}"));
        }
        Ok(_) => {}
    }
}

fn fail(text: &str) -> ! {
    eprintln!("{text}");
    std::process::exit(1);
}

//! Builds the eBPF programs with clang. The objects are part of the crate.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Objects, each made from a source of the same name.
const OBJECTS: &[&str] = &["callers", "evaluate", "guard"];

/// Room for tables, in bytes: each object is built for each. `src/room.rs` has the same.
const ROOMS: &[usize] = &[64 << 10, 512 << 10, 4 << 20, 16 << 20];

fn main() {
    let bpf = Path::new("bpf");
    let engine = Path::new("../engine/include");
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-changed=../engine/include");
    println!("cargo::rerun-if-env-changed=HSCI_CLANG");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    let clang = std::env::var("HSCI_CLANG").unwrap_or_else(|_| "clang".to_owned());
    for object in OBJECTS {
        for room in ROOMS {
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
            command.arg(format!("-DHSCI_TABLE_WORDS={}u", room / size_of::<u32>()));
            command.arg("-I").arg(bpf).arg("-I").arg(engine);
            command.arg("-c").arg(bpf.join(format!("{object}.bpf.c")));
            command.arg("-o").arg(out.join(format!("{object}-{room}.o")));
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

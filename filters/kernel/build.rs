//! Builds the eBPF programs with clang. A published crate carries them built, and needs no clang unless its
//! sources were changed or HSCI_CLANG names one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hsci_abi::tables::ROOMS;

/// Objects, each made from a source of the same name.
const OBJECTS: &[&str] = &["callers", "evaluate", "guard", "probe", "processes", "remembering"];

/// The sources. The header that the user side shares is linked among them, so that a published crate has it.
const SOURCES: &str = "bpf";

/// Built objects of a published crate, a directory for each of [`SHIPPED_FOR`], and the file beside them that
/// says of which sources they are. `./run objects` makes them.
const SHIPPED: &str = "objects";
const FINGERPRINT: &str = "fingerprint";
const SHIPPED_FOR: [&str; 2] = ["x86_64", "aarch64"];

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    // Cargo follows no links.
    println!("cargo::rerun-if-changed={SOURCES}/hsci_abi.h");
    if Path::new(SHIPPED).exists() {
        println!("cargo::rerun-if-changed={SHIPPED}");
    }
    println!("cargo::rerun-if-env-changed=HSCI_CLANG");
    println!("cargo::rerun-if-env-changed=HSCI_OBJECTS");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    // The programs look at numbers that architectures have of their own.
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    let clang = std::env::var("HSCI_CLANG").ok();
    let shipped = Path::new(SHIPPED).join(&architecture);
    if clang.is_none() && shipped.exists() && is_of_these_sources(Path::new(SHIPPED)) {
        for name in object_files().map(|(.., name)| name) {
            let copied = fs::copy(shipped.join(&name), out.join(&name));
            copied.unwrap_or_else(|error| fail(&format!("{SHIPPED}/{name}: {error}")));
        }
        return;
    }
    let clang = clang.as_deref().unwrap_or("clang");
    build(clang, &architecture, &out);
    if let Some(dir) = std::env::var_os("HSCI_OBJECTS") {
        ship(clang, Path::new(&dir));
    }
}

/// Builds what a published crate carries.
fn ship(clang: &str, dir: &Path) {
    for architecture in SHIPPED_FOR {
        let below = dir.join(architecture);
        fs::create_dir_all(&below).expect("a directory for objects");
        build(clang, architecture, &below);
    }
    fs::write(dir.join(FINGERPRINT), fingerprint()).expect("a file beside the objects");
}

fn is_of_these_sources(shipped: &Path) -> bool {
    fs::read_to_string(shipped.join(FINGERPRINT)).is_ok_and(|found| found == fingerprint())
}

/// What the sources are, as a 64-bit FNV-1a hash of their names and contents.
fn fingerprint() -> String {
    let entries = fs::read_dir(SOURCES).expect("sources").flatten();
    let mut sources: Vec<_> = entries.map(|entry| entry.path()).collect();
    sources.sort();
    let bytes = sources.iter().flat_map(|path| {
        let name = path.to_string_lossy().into_owned().into_bytes();
        name.into_iter().chain(fs::read(path).expect("a source"))
    });
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// The source, the room in words and the name of each object.
fn object_files() -> impl Iterator<Item = (&'static str, usize, String)> {
    OBJECTS.iter().flat_map(|&object| {
        let rooms = ROOMS.iter().enumerate();
        rooms.map(move |(index, &words)| (object, words, format!("{object}-{index}.o")))
    })
}

fn build(clang: &str, architecture: &str, out: &Path) {
    for (object, words, name) in object_files() {
        let mut command = Command::new(clang);
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
        command.arg("-c").arg(Path::new(SOURCES).join(format!("{object}.bpf.c")));
        command.arg("-o").arg(out.join(name));
        run(clang, &mut command);
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

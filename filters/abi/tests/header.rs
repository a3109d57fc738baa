//! The header for C says what Rust says.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use hsci_abi::tables::{MAX_WALK, hash};
use hsci_abi::{c_header, records};

fn header() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/hsci_abi.h")
}

/// `HSCI_WRITE_HEADER=1 cargo test -p hsci-abi --test header` writes the header again.
#[test]
fn the_header_is_the_one_that_is_made() {
    if std::env::var_os("HSCI_WRITE_HEADER").is_some() {
        std::fs::write(header(), c_header()).expect("the header is written");
    }
    assert_eq!(std::fs::read_to_string(header()).expect("the header"), c_header());
}

/// Bytes that nobody writes would make records differ that are the same.
#[test]
fn no_record_has_padding() {
    for record in records() {
        let sum: usize = record.fields.iter().map(|field| field.size).sum();
        assert_eq!(sum, record.size, "{}", record.name);
    }
}

/// A C program prints sizes, offsets and hashes; Rust must have the same.
#[test]
fn c_has_the_same_layouts() {
    let (mut program, mut expected) = (String::new(), String::new());
    for record in records() {
        let name = record.name;
        let _ = writeln!(program, "printf(\"{name} %zu\\n\", sizeof(struct {name}));");
        let _ = writeln!(expected, "{name} {}", record.size);
        for field in record.fields {
            let (offset, size, field) = (field.offset, field.size, field.name);
            let _ = writeln!(
                program,
                "printf(\"{name}.{field} %zu %zu\\n\", offsetof(struct {name}, {field}), \
                 sizeof(((struct {name} *)0)->{field}));"
            );
            let _ = writeln!(expected, "{name}.{field} {offset} {size}");
        }
    }
    for value in [0, 1, 1000, u32::MAX - 1] {
        let _ = writeln!(program, "printf(\"%u\\n\", hsci_hash({value}u, 1023u));");
        let _ = writeln!(expected, "{}", hash(value, 1023));
    }
    let _ = writeln!(program, "printf(\"%u\\n\", HSCI_MAX_WALK);");
    let _ = writeln!(expected, "{MAX_WALK}");
    let text = format!(
        "#define HSCI_ARCH_x86_64\n#include <stddef.h>\n#include <stdio.h>\n#include \"{}\"\n\
         int main(void)\n{{\n{program}return 0;\n}}\n",
        header().display()
    );
    assert_eq!(output_of(&text), expected);
}

fn output_of(program: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, binary) = (folder.path().join("layouts.c"), folder.path().join("layouts"));
    std::fs::write(&source, program).expect("the program is written");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let flags = ["-Wall", "-Wextra", "-Werror", "-o"];
    let status = Command::new(compiler).args(flags).arg(&binary).arg(&source).status();
    assert!(status.expect("a C compiler").success());
    let output = Command::new(&binary).output().expect("the program runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

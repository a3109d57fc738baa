//! The header for C says what Rust says.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use hsci_engine::layout::{MAX_WALK, c_header, hash, records};

fn header() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/hsci_tables.h")
}

/// `HSCI_WRITE_HEADER=1 cargo test -p hsci-engine --test layouts` writes the header anew.
#[test]
fn the_header_is_the_one_that_is_made() {
    if std::env::var_os("HSCI_WRITE_HEADER").is_some() {
        std::fs::write(header(), c_header()).expect("the header is written");
    }
    assert_eq!(std::fs::read_to_string(header()).expect("the header"), c_header());
}

/// A C program prints sizes, offsets and hashes; Rust must have the same.
#[test]
fn c_has_the_same_layouts() {
    let (mut program, mut expected) = (String::new(), String::new());
    for (name, size, fields) in records() {
        let _ = writeln!(program, "printf(\"{name} %zu\\n\", sizeof(struct {name}));");
        let _ = writeln!(expected, "{name} {size}");
        for (field, offset) in fields {
            let _ = writeln!(
                program,
                "printf(\"{name}.{field} %zu %zu\\n\", offsetof(struct {name}, {field}), \
                 sizeof(((struct {name} *)0)->{field}));"
            );
            let _ = writeln!(expected, "{name}.{field} {offset} {}", size_of::<u32>());
        }
    }
    for value in [0, 1, 1000, u32::MAX - 1] {
        let _ = writeln!(program, "printf(\"%u\\n\", hsci_hash({value}u, 1023u));");
        let _ = writeln!(expected, "{}", hash(value, 1023));
    }
    let _ = writeln!(program, "printf(\"%u\\n\", HSCI_MAX_WALK);");
    let _ = writeln!(expected, "{MAX_WALK}");
    let text = format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include \"{}\"\nint main(void)\n{{\n{program}return 0;\n}}\n",
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

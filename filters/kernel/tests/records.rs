//! The programs have the records and numbers that user side has, on each architecture.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use hsci_abi::numbers::ARCHITECTURES;
use hsci_abi::{OpenFlag, records};
use object::{Object as _, ObjectSection as _};

/// Size, and offsets of fields in bytes, of each structure that an object describes.
type Structures = BTreeMap<String, (usize, Vec<(String, usize)>)>;

/// Reads BTF: a header, types, and the names of both.
fn structures(btf: &[u8]) -> Structures {
    let word =
        |at: usize| u32::from_le_bytes(btf[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!(&btf[..2], [0x9F, 0xEB], "BTF, least significant byte first");
    let (header, types, len, names) = (word(4), word(8), word(12), word(16));
    let name = |offset: usize| {
        let text = btf[header + names + offset..].split(|byte| *byte == 0).next();
        String::from_utf8(text.expect("a name").to_vec()).expect("text")
    };
    let mut found = Structures::new();
    let mut at = header + types;
    while at < header + types + len {
        let (info, size) = (word(at + 4), word(at + 8));
        let (kind, members) = (info >> 24 & 0x1F, info & 0xFFFF);
        if kind == 4 {
            let field = |index: usize| {
                let field = at + 12 + 12 * index;
                // Above offsets stand lengths, in structures with bit fields.
                let mask = if info >> 31 == 1 { 0xFF_FFFF } else { usize::MAX };
                (name(word(field)), (word(field + 8) & mask) / 8)
            };
            found.insert(name(word(at)), (size, (0..members).map(field).collect()));
        }
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * members,
                6 | 13 => 8 * members,
                _ => 0,
            };
    }
    found
}

fn described(object: &Path) -> Structures {
    let bytes = std::fs::read(object).expect("an object");
    let file = object::File::parse(bytes.as_slice()).expect("ELF");
    let section = file.section_by_name(".BTF").expect("type information");
    structures(section.data().expect("its bytes"))
}

/// Each record that programs use is laid out as here. Those of tables are read as words.
#[test]
fn programs_have_the_records_of_user_side() {
    let mut seen = Vec::new();
    for object in ["guard", "callers", "evaluate", "processes", "remembering"] {
        let found = described(&Path::new(env!("OUT_DIR")).join(format!("{object}-0.o")));
        for record in records() {
            let Some((size, fields)) = found.get(record.name) else { continue };
            let expected: Vec<_> =
                record.fields.iter().map(|field| (field.name.to_owned(), field.offset)).collect();
            assert_eq!((*size, fields), (record.size, &expected), "{} in {object}", record.name);
            seen.push(record.name);
        }
    }
    for name in [
        "roots", "sections", "subject", "guard", "root_key", "handed", "tracer", "question",
        "answer",
    ] {
        assert!(
            seen.contains(&format!("hsci_{name}").as_str()),
            "{name} is in no object: {seen:?}"
        );
    }
}

#[test]
fn open_flags_are_those_of_this_kernel() {
    let here = ARCHITECTURES.iter().find(|one| one.name == std::env::consts::ARCH);
    let expected = [
        (OpenFlag::Append, libc::O_APPEND),
        (OpenFlag::Truncate, libc::O_TRUNC),
        (OpenFlag::Create, libc::O_CREAT),
        (OpenFlag::Exclusive, libc::O_EXCL),
        (OpenFlag::Direct, libc::O_DIRECT),
        (OpenFlag::Sync, libc::O_DSYNC),
        (OpenFlag::NoFollow, libc::O_NOFOLLOW),
        (OpenFlag::Path, libc::O_PATH),
        (OpenFlag::TmpFile, libc::O_TMPFILE),
    ];
    let expected = expected.map(|(flag, bits)| (flag, bits as u32));
    assert_eq!(here.expect("an architecture that objects are built for").open_flags, expected);
}

/// The guard looks at open flags: objects of two architectures differ, and both are built.
#[test]
fn the_guard_is_built_for_each_architecture() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    let build = |name: &str| {
        let object = folder.path().join(name);
        let clang = std::env::var_os("HSCI_CLANG").unwrap_or_else(|| "clang".into());
        let status = Command::new(clang)
            .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-DHSCI_TABLE_WORDS=16384u"])
            .arg(format!("-DHSCI_ARCH_{name}"))
            .arg("-I")
            .arg(&source)
            .arg("-I")
            .arg(source.join("../../abi/include"))
            .arg("-c")
            .arg(source.join("guard.bpf.c"))
            .arg("-o")
            .arg(&object)
            .status();
        assert!(status.expect("clang").success(), "{name}");
        std::fs::read(object).expect("an object")
    };
    let [x86_64, aarch64, _] = ARCHITECTURES.map(|one| build(one.name));
    assert_ne!(x86_64, aarch64);
}

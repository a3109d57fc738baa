//! The C header of all this.

use std::fmt::Write as _;

use crate::numbers::{ARCHITECTURES, Architecture, FileType, OpenFlag, Operation};
use crate::{callers, evaluate, guard, memory, records, tables};

const BEGINNING: &str = "/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What user side and kernel side share. Made from the crate in filters/abi. */
#ifndef HSCI_ABI_H
#define HSCI_ABI_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif
";

const END: &str = "
/* The place of a key in a hash area. */
static inline __u32 hsci_hash(__u32 value, __u32 mask)
{
\t__u32 product = value * HSCI_HASH_FACTOR;

\treturn (product ^ (product >> 15)) & mask;
}

#endif
";

/// The C header with all records and numbers.
#[must_use]
pub fn c_header() -> String {
    let mut text = BEGINNING.to_owned();
    let numbers =
        [tables::NUMBERS, evaluate::NUMBERS, guard::NUMBERS, callers::NUMBERS, memory::NUMBERS];
    for part in numbers {
        text.push('\n');
        for (name, value) in part {
            let suffix = if u32::try_from(*value).is_ok() { "u" } else { "ull" };
            let _ = writeln!(text, "#define HSCI_{name} {value:#x}{suffix}");
        }
    }
    text.push_str("\n/* Operations, as bits. */\n");
    for operation in Operation::ALL {
        let _ = writeln!(
            text,
            "#define {} (1u << {})",
            c_name("DO", operation.name()),
            operation.number()
        );
    }
    text.push_str("\n/* Types of files. */\n");
    for one in FileType::ALL {
        let _ = writeln!(text, "#define {} {}u", c_name("TYPE", one.name()), one.number());
    }
    text.push_str("\n/* Open flags in tables, as bits. */\n");
    for flag in OpenFlag::ALL {
        let _ = writeln!(text, "#define {} (1u << {})", c_name("FLAG", flag.name()), flag.number());
    }
    text.push_str("\n/* Open flags in the kernel: all bits are set. */\n");
    for (index, architecture) in ARCHITECTURES.iter().enumerate() {
        write_open_flags(&mut text, architecture, if index == 0 { "#if" } else { "#elif" });
    }
    text.push_str("#else\n#error \"no HSCI_ARCH_ is defined\"\n#endif\n");
    for record in records() {
        let _ = writeln!(text, "\nstruct {} {{", record.name);
        record.fields.iter().for_each(|field| {
            let _ = writeln!(text, "\t{};", field.declaration);
        });
        text.push_str("};\n");
    }
    text + END
}

fn write_open_flags(text: &mut String, architecture: &Architecture, condition: &str) {
    let _ = writeln!(text, "{condition} defined(HSCI_ARCH_{})", architecture.name);
    for (flag, bits) in &architecture.open_flags {
        let _ = writeln!(text, "#define {} {bits:#x}u", c_name("O", flag.name()));
    }
}

fn c_name(kind: &str, name: &str) -> String {
    format!("HSCI_{kind}_{}", name.replace('-', "_").to_uppercase())
}

//! Records: structures of C, declared once, with what a test compares.

/// A type that a field of a record may have.
pub(crate) trait Field {
    /// Declares a field of this type in C.
    fn declare(name: &str) -> String;
}

macro_rules! numbers {
    ($($type:ty = $c_name:literal,)*) => {
        $(impl Field for $type {
            fn declare(name: &str) -> String {
                format!(concat!($c_name, " {}"), name)
            }
        })*
    };
}

numbers! { u8 = "__u8", u32 = "__u32", u64 = "__u64", }

impl<T: Field, const LEN: usize> Field for [T; LEN] {
    fn declare(name: &str) -> String {
        T::declare(&format!("{name}[{LEN}]"))
    }
}

/// A record as C has it.
#[derive(Clone, Debug)]
pub struct Described {
    /// Name of the structure.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// Its fields.
    pub fields: Vec<DescribedField>,
}

/// A field of a record.
#[derive(Clone, Debug)]
pub struct DescribedField {
    /// Its name.
    pub name: &'static str,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
    /// Its declaration, without the semicolon.
    pub declaration: String,
}

/// A structure that both sides know.
pub trait Record: Copy {
    /// What C calls it, and how it is laid out.
    fn describe() -> Described;
}

/// Declares records.
macro_rules! declare {
    ($($(#[$doc:meta])* $name:ident, $c_name:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            #[repr(C)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

            impl $crate::record::Field for $name {
                fn declare(name: &str) -> String {
                    format!(concat!("struct ", $c_name, " {}"), name)
                }
            }

            impl $crate::record::Record for $name {
                fn describe() -> $crate::record::Described {
                    let fields = vec![$($crate::record::DescribedField {
                        name: stringify!($field),
                        offset: std::mem::offset_of!($name, $field),
                        size: $crate::record::size_of_field(|record: &$name| &record.$field),
                        declaration: <$type as $crate::record::Field>::declare(stringify!($field)),
                    },)*];
                    $crate::record::Described { name: $c_name, size: size_of::<$name>(), fields }
                }
            }
        )*
    };
}
pub(crate) use declare;

/// The size of what a field is.
pub(crate) fn size_of_field<R, F>(_: impl Fn(&R) -> &F) -> usize {
    size_of::<F>()
}

/// All records, each after those that it holds.
#[must_use]
pub fn records() -> Vec<Described> {
    use crate::{callers, evaluate, guard, memory, tables};
    let mut all = tables::records();
    all.extend(evaluate::records());
    all.extend(guard::records());
    all.extend(callers::records());
    all.extend(memory::records());
    all
}

//! The policy language: text to checked policy, diagnostics, and the reference interpreter.
//!
//! The grammar and the meaning of every word are in `docs/src/reference/policy-language.md`. This crate knows
//! neither files nor kernels: what names mean on a machine is asked of a [`names::Names`].
//!
//! ```
//! use hsci_language::{Call, Operation, Subject, check, judge, names::FixedNames};
//!
//! let checked = check("deny open \"/srv/vault/**\" unless user 0", &FixedNames::default());
//! let policy = checked.policy.expect("no errors");
//! let call = Call::new(Operation::Open, b"/srv/vault/key", Subject::default());
//! assert!(judge(&policy, &call).denied.is_some());
//! ```

mod analysis;
mod ast;
mod call;
mod capabilities;
mod check;
mod diagnostic;
mod errno;
pub mod glob;
pub mod interpreter;
mod lexer;
pub mod memory;
pub mod names;
mod operation;
mod parser;
pub mod policy;
mod span;
pub mod time;

pub use call::{
    Call, Facts, FileType, HOST_PID_NAMESPACE, HOST_USER_NAMESPACE, Memory, NO_LOGIN, OpenFlag,
    SOME_NOON, Subject,
};
pub use capabilities::CAPABILITIES;
pub use check::{Checked, Inclusion, check, check_parts, inclusions};
pub use diagnostic::{Code, Diagnostic, Severity, render_all};
pub use errno::DenyErrno;
pub use interpreter::{Judgement, judge};
pub use operation::{GROUPS, Operation, Operations};
pub use policy::Policy;
pub use span::{Span, Spanned};

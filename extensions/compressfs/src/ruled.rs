//! What a rule of the policy said when a file was written last, kept for states that come later.

use hsci_extension::{Context, Result};

use crate::algorithm::Algorithm;
use crate::choice;
use crate::form::File;

/// The extended attribute that remembers it.
const RULED: &str = "user.hsci.ruled";

/// What was written down.
pub(crate) fn read(context: &Context) -> Result<Option<Algorithm>> {
    Ok(context.xattr(RULED)?.and_then(|value| choice::parse(&value).ok()))
}

/// Writes down what a rule said at the last write.
pub(crate) fn keep(file: &mut File, context: &Context) {
    let kept = match file.kept_rule {
        Some(kept) => Ok(kept),
        None => read(context),
    };
    let value = file.ruled.as_ref().map(ToString::to_string).unwrap_or_default();
    let done = kept.and_then(|kept| match kept == file.ruled {
        true => Ok(()),
        false => context.set_xattr(RULED, value.as_bytes()),
    });
    match done {
        Ok(()) => file.kept_rule = Some(file.ruled),
        // If this state is lost, another algorithm than the right one is used.
        Err(error) => log::debug!("{RULED}: {error}"),
    }
}

//! Verifies a store that is not mounted.

mod walk;

use std::path::Path;
use std::sync::Arc;

use hsci_extension::{
    Attr, Checked, Environment, Error, Finding, Ino, LowerFile, Result, Severity,
};

use crate::choice::{self, ATTRIBUTE, Choices};
use crate::fs::{Form, Stored, Unfinished, form_of};
use crate::recovery;

/// Looks at every byte that carries a checksum, and reports what is wrong.
pub(crate) fn check(
    environment: &Environment,
    report: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(u64),
) -> Result<Checked> {
    let unfinished = recovery::look(&*environment.store)?;
    if !unfinished.is_empty() {
        let text = format!("{} files get a new image at the next mount", unfinished.len());
        report(Finding { severity: Severity::Notice, place: "journal".to_owned(), text });
    }
    if let Err(error) = Choices::load(&environment.store) {
        report(damage("choices", &error));
    }
    let mut checked = Checked::default();
    walk::regular_files(&*environment.lower, &mut |path, found| {
        match found {
            Ok((ino, attr)) => {
                if let Err(error) = check_file(environment, &unfinished, ino, path, report, &mut checked) {
                    report(damage(&path.to_string_lossy(), &error));
                }
                checked.files += 1;
                progress(attr.blocks * 512);
            }
            Err(error) => report(damage(&path.to_string_lossy(), &error)),
        }
    });
    Ok(checked)
}

fn damage(place: &str, error: &Error) -> Finding {
    Finding { severity: Severity::Damage, place: place.to_owned(), text: error.to_string() }
}

//! Looks at every byte of an image.

use std::ops::Range;

use hsci_extension::{Error, LowerFile, Result};

use super::Image;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// What it is, for the user.
    pub(crate) what: String,
    /// The logical bytes that cannot be read because of it; `None` if a second copy serves.
    pub(crate) lost: Option<Range<u64>>,
}

/// Reads every byte of the image at `base` and tells of all damage. `None` if there is no image; an
/// error if its head cannot be read.
pub(crate) fn verify(
    file: &dyn LowerFile,
    base: u64,
    report: &mut dyn FnMut(Damage),
) -> Result<Option<Image>> {
    let Some(image) = Image::open(file, base)? else {
        return Ok(None);
    };
    if let Some(what) = image.damage() {
        report(Damage { what: what.to_owned(), lost: None });
    }
    Ok(Some(image))
}

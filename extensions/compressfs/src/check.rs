//! Verifies a store that is not mounted.

use std::ops::Range;
use std::sync::Arc;

use hsci_extension::{Checked, Environment, Error, Finding, Ino, Result, Severity, check};

use crate::choice::Choices;
use crate::form::{self, Source, Stored, Unfinished};
use crate::format::{self, Damage};
use crate::mark::Marks;
use crate::summary::Summary;
use crate::{notices, recovery};

/// Looks at every byte that carries a checksum, and reports what is wrong.
pub(crate) fn verify(
    environment: &Environment,
    report: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(u64),
) -> Result<Checked> {
    let unfinished = recovery::look(&*environment.store)?.unfinished(&*environment.store)?;
    if !unfinished.is_empty() {
        let text = format!("{} files get a new image at the next mount", unfinished.len());
        report(Finding::new(Severity::Notice, "journal", text));
    }
    if let Err(error) = Choices::load(&environment.store) {
        report(unreadable("choices", &error));
    }
    let marks = Marks::load(&*environment.store)?;
    let mut checked = Checked::default();
    check::regular_files(&*environment.lower, &mut |path, found| {
        let place = path.to_string_lossy();
        let looked = found.and_then(|(ino, attr)| {
            checked.files += 1;
            progress(attr.blocks * 512);
            check_file(environment, (&unfinished, &marks), ino, &mut |severity, text| {
                report(Finding::new(severity, &*place, text));
            })
        });
        match looked {
            Ok((verified, unverified)) => {
                checked.verified_bytes += verified;
                checked.unverified_bytes += unverified;
            }
            Err(error) => report(unreadable(&place, &error)),
        }
    });
    Ok(checked)
}

/// Returns the logical bytes that carry a checksum, and those that carry none.
fn check_file(
    environment: &Environment,
    known: (&Unfinished, &Marks),
    ino: Ino,
    report: &mut dyn FnMut(Severity, String),
) -> Result<(u64, u64)> {
    let seen = look(environment, known, ino)?;
    if let Some(awaited) = seen.awaited {
        report(Severity::Notice, awaited);
    }
    for (severity, damage) in seen.damages {
        let Range { start, end } = damage.lost;
        let place = match severity {
            Severity::Damage if start < end => format!(": bytes {start} to {end} cannot be read"),
            _ => String::new(),
        };
        report(severity, format!("{}{place}", damage.what));
    }
    Ok((seen.verified, seen.unverified))
}

/// What there is to say of a file.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) damages: Vec<(Severity, Damage)>,
    /// The image is in a journal; what the file waits for.
    pub(crate) awaited: Option<String>,
    /// Logical bytes that carry a checksum, and those that carry none.
    pub(crate) verified: u64,
    pub(crate) unverified: u64,
    /// Logical bytes per chunk of the image.
    pub(crate) chunk_len: u64,
}

/// Reads all of a file. An error means that it is not understood.
pub(crate) fn look(
    environment: &Environment,
    (unfinished, marks): (&Unfinished, &Marks),
    ino: Ino,
) -> Result<Seen> {
    let lower = environment.lower.file(ino)?;
    let awaited = match unfinished.is_empty() {
        true => None,
        false => unfinished.get(&lower.id()?).cloned(),
    };
    let mut seen = Seen::default();
    if awaited.is_none() && marks.has(&*lower)? {
        seen.unverified = lower.len()?;
        return Ok(seen);
    }
    if awaited.is_some() {
        seen.awaited = Some(notices::awaited(&*lower)?);
    }
    let found = match &awaited {
        Some(awaited) => Some(Stored::with_awaited(&lower, awaited)?),
        None => {
            let head = Source::new(Arc::clone(&lower), 0).head()?;
            Stored::of_head(&lower, &head)?
        }
    };
    let Some(stored) = found else {
        if Summary::tells_of_image(&*lower)? {
            return Err(form::lost_head());
        }
        seen.unverified = lower.len()?;
        return Ok(seen);
    };
    let damages = verify_segments(&stored)?;
    for damage in damages {
        seen.damages.push((severity_of(&damage, &stored)?, damage));
    }
    let in_slots = stored.log.slots.values().map(|slot| u64::from(slot.valid)).sum::<u64>();
    let in_slots = in_slots.min(stored.len());
    let lost = seen.damages.iter().filter(|(severity, _)| *severity == Severity::Damage);
    let lost = lost.map(|(_, damage)| damage.lost.end - damage.lost.start).sum();
    seen.verified = (stored.len() - in_slots).saturating_sub(lost);
    seen.unverified = in_slots;
    seen.chunk_len = stored.segments.chunk_len();
    Ok(seen)
}

/// All damage in the segments of a file.
fn verify_segments(stored: &Stored) -> Result<Vec<Damage>> {
    let mut damages = Vec::new();
    for (chunks, image) in stored.segments.places() {
        let start = chunks.start * stored.segments.chunk_len();
        let source = image.source();
        let found =
            format::verify(&*source.file, source.base, image.header().continues, &mut |damage| {
                let lost = start + damage.lost.start..start + damage.lost.end;
                damages.push(Damage { lost, ..damage });
            })?;
        if found.is_none() {
            return Err(Error::Damaged("header: it changed while it was read".to_owned()));
        }
    }
    Ok(damages)
}

/// Damage is grave only if somebody still reads these bytes.
fn severity_of(damage: &Damage, stored: &Stored) -> Result<Severity> {
    let lost = &damage.lost;
    let chunk_len = stored.segments.chunk_len();
    let chunks = lost.start / chunk_len..lost.end.div_ceil(chunk_len);
    for chunk in chunks {
        // Where even the index is lost, nobody can tell.
        if !stored.log.slots.contains_key(&chunk) && !matches!(stored.image_part(chunk), Ok(0)) {
            return Ok(Severity::Damage);
        }
    }
    Ok(Severity::Notice)
}

pub(crate) fn unreadable(place: &str, error: &Error) -> Finding {
    Finding::new(Severity::Damage, place, error.to_string())
}

//! Drops what is damaged in a store that is not mounted, and keeps the rest.
//!
//! Only bytes are dropped of which the index says where they are and what they must be: they are erased, as by
//! a caller who punches a hole, and the file gets a new image by the way that gave it the last. A file with
//! anything that is not understood is not touched.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hsci_extension::content::Scan;
use hsci_extension::{
    Call, Checked, ContentFs, Environment, Error, FallocateFlags, Finding, Ino, Layer, Result,
    Settled, Severity, check,
};

use crate::check::{Seen, look, unreadable};
use crate::choice::Choices;
use crate::compress::{Compress, Settings};
use crate::form::Unfinished;
use crate::mark::Marks;
use crate::notices::Notices;
use crate::recovery::Recovered;
use crate::{CompressFs, settle};

/// Files that are whole are left to the next mount, be they compressed or not.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Repairs all files, and the extension's own part of the store.
pub(crate) fn run(
    environment: &Environment,
    settings: Settings,
    report: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(u64),
) -> Result<Checked> {
    let recovered = Recovered::from_bytes(&environment.recover::<CompressFs>()?)?;
    let unfinished = recovered.unfinished(&*environment.store)?;
    let mut said = recovered.said();
    // The others are named with their files.
    said.retain(|file, _| !unfinished.contains_key(file));
    for text in Notices::after_recovery(said, &*environment.lower).list() {
        report(Finding::new(Severity::Notice, "journal", text));
    }
    let (choices, lost) = Choices::repair(&environment.store)?;
    if let Some(lost) = lost {
        report(Finding::new(Severity::Lost, "choices", lost));
    }
    let marks = Marks::load(&*environment.store)?;
    let repair = Repair::new(environment, settings, Arc::new(choices), (unfinished, marks));
    let mut checked = Checked::default();
    check::regular_files(&*environment.lower, &mut |path, found| {
        let place = path.to_string_lossy();
        let seen = found.and_then(|(ino, attr)| {
            checked.files += 1;
            progress(attr.blocks * 512);
            repair.file(ino, &mut |severity, text| {
                report(Finding::new(severity, &*place, text));
            })
        });
        match seen {
            Ok(seen) => {
                checked.verified_bytes += seen.verified;
                checked.unverified_bytes += seen.unverified;
            }
            Err(error) => report(unreadable(&place, &error)),
        }
    });
    repair.files.shutdown();
    Ok(checked)
}

struct Repair<'a> {
    environment: &'a Environment,
    compress: Arc<Compress>,
    files: Arc<ContentFs<Compress>>,
}

impl<'a> Repair<'a> {
    fn new(
        environment: &'a Environment,
        settings: Settings,
        choices: Arc<Choices>,
        (unfinished, marks): (Unfinished, Marks),
    ) -> Self {
        let settings = Settings { quiet: NEVER, commit: Duration::ZERO, ..settings };
        let store = Arc::clone(&environment.store);
        let kernel = Arc::clone(&environment.kernel);
        let compress = Arc::new(Compress::new(store, kernel, settings, choices, unfinished, marks));
        let files = ContentFs::with_scan(Arc::clone(&compress), environment, Scan::OnRequest);
        Self { environment, compress, files }
    }

    /// Repairs a file, and returns how it is then.
    fn file(&self, ino: Ino, report: &mut dyn FnMut(Severity, String)) -> Result<Seen> {
        let seen = self.look(ino)?;
        if let Some(awaited) = &seen.awaited {
            report(Severity::Notice, awaited.clone());
        }
        if seen.damages.is_empty() {
            return Ok(seen);
        }
        if seen.awaited.is_some() || !seen.damages.iter().all(|(_, damage)| damage.is_certain) {
            for (severity, damage) in &seen.damages {
                report(*severity, format!("{}; the file is left as it is", damage.what));
            }
            return Ok(seen);
        }
        if let Err(error) = self.renew(ino, &seen) {
            for (severity, damage) in &seen.damages {
                report(*severity, format!("{}; not repaired: {error}", damage.what));
            }
            return Ok(seen);
        }
        for (severity, damage) in seen.damages {
            match severity {
                Severity::Damage => {
                    let Range { start, end } = damage.lost;
                    let lost = format!("bytes {start} to {end} are lost and read as zeros");
                    report(Severity::Lost, format!("{}: {lost}", damage.what));
                }
                severity => report(severity, format!("{}: made anew", damage.what)),
            }
        }
        let after = self.look(ino)?;
        for (severity, damage) in &after.damages {
            report(*severity, format!("{}: still there after the repair", damage.what));
        }
        Ok(after)
    }

    fn look(&self, ino: Ino) -> Result<Seen> {
        look(self.environment, (&self.compress.unfinished, &self.compress.marks), ino)
    }

    /// Erases what is lost of a file, and gives it a new image.
    fn renew(&self, ino: Ino, seen: &Seen) -> Result<()> {
        let call = Call::internal();
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        for (severity, damage) in &seen.damages {
            if *severity == Severity::Damage {
                // The whole chunk, so that nothing of it has to be read.
                let Range { start, end } = damage.lost;
                let len = (end - start).next_multiple_of(seen.chunk_len);
                self.files.fallocate(&call, ino, mode, start, len)?;
            }
        }
        self.files.fsync(&call, ino, false)?;
        let open = self.files.open_file(ino)?;
        open.write().renew = true;
        match settle::settle(&self.compress, &[open]).pop() {
            Some(Settled::Changed) => Ok(()),
            Some(Settled::Failed(error)) => Err(error),
            Some(Settled::Busy) => Err(Error::Busy),
            _ => Err(Error::NotPermitted("the file is immutable or append-only".to_owned())),
        }
    }
}

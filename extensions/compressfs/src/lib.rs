//! Compressed files, each user with an algorithm of their own.
//!
//! A regular file is stored in one of three forms: *raw* (as it is), *sealed* (an image of
//! compressed chunks) and *log* (an image, and what was written since). Files are written raw or
//! to their log, and get an image when they have been quiet for a while.

mod algorithm;
mod cache;
mod check;
mod choice;
mod choice_layer;
mod codec;
mod compress;
mod content;
mod form;
mod format;
mod journal;
mod kept_ctime;
mod mark;
mod notices;
mod recovery;
mod repair;
mod ruled;
mod settle;
mod summary;
#[cfg(test)]
mod tests;
mod transfer;
mod usage;

use std::sync::Arc;

use hsci_extension::content::Scan;
use hsci_extension::options::{OptionKind, OptionSpec, PROFILE};
use hsci_extension::{
    Checked, ContentFs, Environment, Error, Extension, FileSystem, Finding, Result, Store,
};

use crate::algorithm::Algorithm;
use crate::choice::Choices;
use crate::choice_layer::ChoiceLayer;
use crate::compress::{Compress, Settings};
use crate::format::STORE_VERSION;
use crate::mark::Marks;
use crate::notices::Notices;
use crate::recovery::Recovered;

/// The option, and what rules set for calls that write.
const ALGORITHM: &str = "algorithm";

/// The extension.
pub struct CompressFs;

impl Extension for CompressFs {
    const NAME: &'static str = "compressfs";
    const ABOUT: &'static str =
        "compresses files that are not being written, each user as they like";
    const FORMAT_VERSION: u32 = STORE_VERSION;
    const BRINGS_FORWARD: bool = true;

    fn options() -> Vec<OptionSpec> {
        let check = |text: &str| text.parse::<Algorithm>().map(drop).map_err(|why| why.to_string());
        vec![
            OptionSpec::new(
                ALGORITHM,
                "algorithm for users who have chosen none",
                OptionKind::Text { check, placeholder: "NAME[:LEVEL]" },
                "zstd:3",
            ),
            OptionSpec::new(
                "chunk",
                "bytes that are compressed as a unit, a power of two",
                OptionKind::Size { min: 32 << 10, max: 1 << 20 },
                "256K",
            ),
            OptionSpec::new(
                "settle",
                "time without writes after which a file is compressed",
                OptionKind::Time,
                "5",
            ),
            OptionSpec::new(
                "segment",
                "bytes that a file which is never quiet gains before they are compressed",
                OptionKind::Size { min: 64 << 10, max: 1 << 30 },
                "32M",
            ),
            OptionSpec::new(
                "commit",
                "time after which a change survives a cut of the power once `sync` was called, by anyone; 0 for never",
                OptionKind::Time,
                "5",
            ),
            PROFILE,
            OptionSpec::new(
                "scan",
                "compress files that were there before the mount",
                OptionKind::Flag,
                "yes",
            ),
            OptionSpec::new(
                "threads",
                "threads that compress; 0: one for each core",
                OptionKind::Number { min: 0, max: 1024 },
                "0",
            ),
        ]
    }

    fn rule_options() -> &'static [&'static str] {
        &[ALGORITHM]
    }

    fn recover(store: &Arc<dyn Store>, read_only: bool) -> Result<Vec<u8>> {
        recovery::run(store, read_only)
    }

    fn start(environment: &Environment) -> Result<Arc<dyn FileSystem>> {
        let recovered = Recovered::from_bytes(&environment.recover::<Self>()?)?;
        let unfinished = recovered.unfinished(&*environment.store)?;
        let choices = Arc::new(Choices::load(&environment.store)?);
        let settings = settings(environment)?;
        let store = Arc::clone(&environment.store);
        let marks = Marks::load(&*store)?;
        let kernel = Arc::clone(&environment.kernel);
        let mut compress =
            Compress::new(store, kernel, settings, Arc::clone(&choices), unfinished, marks);
        let notices = Arc::new(Notices::after_recovery(recovered.said(), &*environment.lower));
        compress.notices = Arc::clone(&notices);
        if !environment.read_only {
            compress.mind_reserve_sometimes();
        }
        let scan = match environment.options.flag("scan") {
            true => Scan::AtStart,
            false => Scan::OnRequest,
        };
        let below = ContentFs::with_scan(Arc::new(compress), environment, scan);
        Ok(Arc::new(ChoiceLayer { below, choices, mount: settings.algorithm, notices }))
    }

    fn check(
        environment: &Environment,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Checked> {
        check::verify(environment, report, progress)
    }

    fn repair(
        environment: &Environment,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Checked> {
        repair::run(environment, settings(environment)?, report, progress)
    }
}

fn settings(environment: &Environment) -> Result<Settings> {
    let options = &environment.options;
    let algorithm = choice::parse(options.text(ALGORITHM).as_bytes())?;
    let chunk_len = options.size("chunk") as u32;
    if !chunk_len.is_power_of_two() {
        return Err(Error::Invalid(format!("option `chunk`: {chunk_len} is no power of two")));
    }
    let threads = match options.number("threads") as usize {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        threads => threads,
    };
    let segment = options.size("segment");
    let (quiet, commit) = (options.time("settle"), options.time("commit"));
    let passthrough = options.has_data_profile();
    Ok(Settings { algorithm, chunk_len, quiet, commit, segment, threads, passthrough })
}

//! Answers the question how much space a file takes, and for what.

use std::collections::BTreeMap;

use hsci_extension::Result;
use hsci_protocol::compression::{AlgorithmUsage, FileUsage};

use crate::form::{File, Form, Stored};

/// All chunks of a file that one algorithm has made.
#[derive(Clone, Copy, Default)]
struct Sum {
    logical: u64,
    stored: u64,
    chunks: u64,
}

impl Sum {
    fn add(&mut self, logical: u64, stored: u64) {
        self.logical += logical;
        self.stored += stored;
        self.chunks += 1;
    }
}

/// The answer, in JSON.
pub(crate) fn describe(file: &File) -> Result<Vec<u8>> {
    let (logical, stored) = (file.len()?, file.lower.blocks()? * 512);
    let (form, sums) = match &file.form {
        Form::Raw => {
            let sum = Sum { logical, stored, chunks: u64::from(logical > 0) };
            ("raw", BTreeMap::from([("none".to_owned(), sum)]))
        }
        Form::Stored(file) if file.log.is_empty() => ("sealed", sums(file)?),
        Form::Stored(file) => ("log", sums(file)?),
        Form::Unreadable(_) => ("unreadable", BTreeMap::new()),
    };
    let segments = match &file.form {
        Form::Stored(file) => file.segments.count() as u64,
        _ => 0,
    };
    let codecs = sums.into_iter().map(|(algorithm, sum)| {
        let Sum { logical, stored, chunks } = sum;
        AlgorithmUsage { algorithm, logical, stored, chunks }
    });
    let usage =
        FileUsage { form: form.to_owned(), logical, stored, segments, codecs: codecs.collect() };
    Ok(serde_json::to_vec(&usage).expect("numbers and names make valid JSON"))
}

fn sums(file: &Stored) -> Result<BTreeMap<String, Sum>> {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    for chunk in 0..file.segments.chunks() {
        let logical = file.image_part(chunk)? as u64;
        if logical > 0 && !file.log.slots.contains_key(&chunk) {
            let (algorithm, stored) = file.segments.cost(chunk)?;
            sums.entry(algorithm.to_string()).or_default().add(logical, stored);
        }
    }
    for slot in file.log.slots.values() {
        let bytes = slot.valid.into();
        sums.entry("none".to_owned()).or_default().add(bytes, bytes);
    }
    Ok(sums)
}

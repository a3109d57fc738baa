//! Tables as bytes.
//!
//! ```text
//! magic "HSCITABL", version u32, checksum u32 (CRC-32C of all that follows)
//! length in bytes of each of the sections, u32 each
//! the sections: roots, states, cells, path classes, row indices, rows, nodes, edges, decisions,
//!               option sets, options, conditions, operations, texts, bytes of texts, effects,
//!               rules of marks, rates, names of marks (indices of texts), bits of ancestors
//! ```
//! Numbers have their least significant byte first. Nothing that is read is believed: whoever has
//! [`Tables`] may use every index in them unchecked.

mod bounds;

use crate::MAX_IMAGE_LEN;
use crate::tables::Tables;
use hsci_abi::tables::{Roots, Words};

const MAGIC: &[u8; 8] = b"HSCITABL";
const VERSION: u32 = 3;
const SECTIONS: usize = 20;
const HEADER_LEN: usize = 16;

/// Why bytes are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// They are something else.
    #[error("not a compiled policy")]
    NotTables,
    /// They were made by another version.
    #[error("a compiled policy of version {0}, which is not known")]
    Version(u32),
    /// They are not what was written.
    #[error("damaged: the checksum differs")]
    Checksum,
    /// They are too long, too short, or cut in the wrong places.
    #[error("damaged: a section has a wrong length")]
    Length,
    /// Something leads out of bounds, or in a circle.
    #[error("damaged: {0} lead nowhere")]
    Bounds(&'static str),
}

impl Tables {
    /// The tables as bytes: the same for the same policy.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        let sections = self.sections();
        let mut body = Vec::new();
        for section in &sections {
            body.extend_from_slice(&(section.len() as u32).to_le_bytes());
        }
        sections.iter().for_each(|section| body.extend_from_slice(section));
        let mut image = MAGIC.to_vec();
        image.extend_from_slice(&VERSION.to_le_bytes());
        image.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        image.extend_from_slice(&body);
        image
    }

    fn sections(&self) -> [Vec<u8>; SECTIONS] {
        [
            write(&[self.roots]),
            write(&self.states),
            write(&self.cells),
            write(&self.path_classes),
            write_numbers(&self.row_indices),
            write(&self.rows),
            write(&self.nodes),
            write(&self.edges),
            write(&self.decisions),
            write(&self.option_sets),
            write(&self.options),
            write(&self.conditions),
            write_numbers(&self.operations),
            write(&self.texts),
            self.bytes.clone(),
            write(&self.effects),
            write(&self.mark_rules),
            write(&self.rates),
            write_numbers(&self.marks),
            write_numbers(&self.ancestors),
        ]
    }

    /// Reads tables.
    pub fn read(image: &[u8]) -> Result<Self, ImageError> {
        if image.len() > MAX_IMAGE_LEN {
            return Err(ImageError::Length);
        }
        let (header, body) = image.split_at_checked(HEADER_LEN).ok_or(ImageError::NotTables)?;
        if !header.starts_with(MAGIC) {
            return Err(ImageError::NotTables);
        }
        let numbers = read_numbers(&header[MAGIC.len()..])?;
        if numbers[0] != VERSION {
            return Err(ImageError::Version(numbers[0]));
        }
        if numbers[1] != crc32c::crc32c(body) {
            return Err(ImageError::Checksum);
        }
        let tables = Self::read_sections(&mut Sections::new(body)?)?;
        tables.check_bounds().map_err(ImageError::Bounds)?;
        Ok(tables)
    }

    fn read_sections(sections: &mut Sections<'_>) -> Result<Self, ImageError> {
        let roots: Vec<Roots> = read(sections.take()?)?;
        let [roots] = roots[..] else { return Err(ImageError::Length) };
        Ok(Self {
            roots,
            states: read(sections.take()?)?,
            cells: read(sections.take()?)?,
            path_classes: read(sections.take()?)?,
            row_indices: read_numbers(sections.take()?)?,
            rows: read(sections.take()?)?,
            nodes: read(sections.take()?)?,
            edges: read(sections.take()?)?,
            decisions: read(sections.take()?)?,
            option_sets: read(sections.take()?)?,
            options: read(sections.take()?)?,
            conditions: read(sections.take()?)?,
            operations: read_numbers(sections.take()?)?,
            texts: read(sections.take()?)?,
            bytes: sections.take()?.to_vec(),
            effects: read(sections.take()?)?,
            mark_rules: read(sections.take()?)?,
            rates: read(sections.take()?)?,
            marks: read_numbers(sections.take()?)?,
            ancestors: read_numbers(sections.take()?)?,
        })
    }
}

/// Sections that are still to be read.
struct Sections<'a> {
    lens: std::vec::IntoIter<u32>,
    rest: &'a [u8],
}

impl<'a> Sections<'a> {
    /// The sections fill the body exactly.
    fn new(body: &'a [u8]) -> Result<Self, ImageError> {
        let (lens, rest) = body.split_at_checked(SECTIONS * 4).ok_or(ImageError::Length)?;
        let lens = read_numbers(lens)?;
        let sum: u64 = lens.iter().map(|len| u64::from(*len)).sum();
        if sum != rest.len() as u64 {
            return Err(ImageError::Length);
        }
        Ok(Self { lens: lens.into_iter(), rest })
    }

    fn take(&mut self) -> Result<&'a [u8], ImageError> {
        let len = self.lens.next().ok_or(ImageError::Length)? as usize;
        let (section, rest) = self.rest.split_at_checked(len).ok_or(ImageError::Length)?;
        self.rest = rest;
        Ok(section)
    }
}

fn write<R: Words>(records: &[R]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(records));
    records.iter().for_each(|record| record.write(&mut bytes));
    bytes
}

fn read<R: Words>(bytes: &[u8]) -> Result<Vec<R>, ImageError> {
    let records = bytes.chunks_exact(size_of::<R>());
    if !records.remainder().is_empty() {
        return Err(ImageError::Length);
    }
    Ok(records.map(R::read).collect())
}

fn write_numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn read_numbers(bytes: &[u8]) -> Result<Vec<u32>, ImageError> {
    let (words, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(ImageError::Length);
    }
    Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

//! Tables as a kernel reads them: one array of words.
//!
//! First the [`Roots`](hsci_abi::tables::Roots) and the [`Sections`], then what these name, each from a multiple of [`LINE_WORDS`], in records of one,
//! two, four or eight words, so that masking an index keeps a record in one piece. What only an extension
//! needs (options and their texts) stays out: a verdict names an option set, and the host has the rest.

use crate::tables::Tables;
use hsci_abi::tables::{LINE_WORDS, Sections, Words};

impl Tables {
    /// The tables as words, marked with a generation, which is not 0.
    #[must_use]
    pub fn words(&self, generation: u32) -> Vec<u32> {
        let mut words = vec![0; LINE_WORDS as usize];
        let sections = Sections {
            states: add(&mut words, &records(&self.states, 4)),
            cells: add(&mut words, &records(&self.cells, 2)),
            path_classes: add(&mut words, &records(&self.path_classes, 2)),
            row_indices: add(&mut words, &self.row_indices),
            rows: add(&mut words, &records(&self.rows, 8)),
            nodes: add(&mut words, &records(&self.nodes, 4)),
            edges: add(&mut words, &records(&self.edges, 2)),
            decisions: add(&mut words, &records(&self.decisions, 2)),
            conditions: add(&mut words, &records(&self.conditions, 4)),
            operations: add(&mut words, &self.operations),
            effects: add(&mut words, &records(&self.effects, 8)),
            mark_rules: add(&mut words, &records(&self.mark_rules, 2)),
            rates: add(&mut words, &records(&self.rates, 8)),
            ancestors: add(&mut words, &self.ancestors),
            generation,
        };
        let head = [records(&[self.roots], 1), records(&[sections], 1)].concat();
        words[..head.len()].copy_from_slice(&head);
        words
    }
}

/// Appends a section, filled up to whole lines; the index of its first word.
fn add(words: &mut Vec<u32>, section: &[u32]) -> u32 {
    let first = words.len();
    words.extend_from_slice(section);
    words.resize(words.len().next_multiple_of(LINE_WORDS as usize), 0);
    first as u32
}

/// Records as words, each filled up to `size`.
fn records<R: Words>(records: &[R], size: usize) -> Vec<u32> {
    let mut words = Vec::with_capacity(records.len() * size);
    let mut bytes = Vec::new();
    for record in records {
        bytes.clear();
        record.write(&mut bytes);
        words.extend(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)));
        words.resize(words.len().next_multiple_of(size), 0);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsci_abi::tables::{Cell, Roots, State};

    #[test]
    fn every_section_is_aligned_and_found() {
        let cells = (0..20).map(|next| Cell { owner: 7, next }).collect();
        let states = vec![State { base: 1, fallback: 2, slash: 3, class: 4 }];
        let roots = Roots { path: 5, ..Roots::default() };
        let tables = Tables { roots, states, cells, operations: vec![9], ..Tables::default() };
        let words = tables.words(6);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let (roots, rest) = bytes.split_at(size_of::<Roots>());
        let sections = Sections::read(&rest[..size_of::<Sections>()]);
        assert_eq!((Roots::read(roots).path, sections.generation), (5, 6));
        assert_eq!((sections.states, sections.cells), (LINE_WORDS, 2 * LINE_WORDS));
        assert_eq!(words[sections.states as usize..][..4], [1, 2, 3, 4]);
        assert_eq!(words[sections.cells as usize + 2 * 19..][..2], [7, 19]);
        assert_eq!(words[sections.operations as usize], 9);
    }
}

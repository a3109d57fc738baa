//! Transitions of all states in one array: each state's row is shifted until its entries fall into
//! free cells (row displacement: Tarjan and Yao, "Storing a sparse table", 1979).

use super::subsets::Dfa;
use hsci_abi::tables::{Cell, NONE, State};

/// So many shifts are tried before a row goes to the end.
const MAX_TRIES: usize = 64;
/// Room for any byte after the last base.
const ROW_LEN: usize = 256;

/// States, with `class` still 0, and their cells.
pub(crate) fn pack(dfa: &Dfa) -> (Vec<State>, Vec<Cell>) {
    let state = |index: usize| {
        let state = &dfa.states[index];
        State { base: 0, fallback: state.fallback, slash: state.slash, class: 0 }
    };
    let mut states: Vec<State> = (0..dfa.states.len()).map(state).collect();
    // Rows with many entries first: those with one fill what they leave.
    let mut order: Vec<usize> = (0..states.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(dfa.states[*index].edges.len()));
    let mut table = Table::default();
    for index in order {
        let edges = &dfa.states[index].edges;
        if edges.is_empty() {
            break;
        }
        states[index].base = table.place(index as u32, edges);
    }
    let bases = states.iter().map(|state| state.base as usize).max().unwrap_or(0);
    table.cells.truncate(bases + ROW_LEN);
    table.grow(bases + ROW_LEN);
    (states, table.cells)
}

#[derive(Default)]
struct Table {
    cells: Vec<Cell>,
    /// For each cell, one at or after it such that all cells between are taken; a free cell has its
    /// own. Sought as in a union-find, so that long taken stretches are passed at once.
    next_free: Vec<u32>,
}

impl Table {
    fn grow(&mut self, len: usize) {
        if len > self.cells.len() {
            self.cells.resize(len, Cell { owner: NONE, next: 0 });
        }
        while self.next_free.len() <= len {
            self.next_free.push(self.next_free.len() as u32);
        }
    }

    /// The first free cell from `at` on.
    fn free_from(&mut self, mut at: usize) -> usize {
        self.grow(at);
        while self.next_free[at] as usize != at {
            let next = self.next_free[at] as usize;
            self.next_free[at] = self.next_free[next];
            at = next;
        }
        at
    }

    fn is_free(&self, at: usize) -> bool {
        self.cells.get(at).is_none_or(|cell| cell.owner == NONE)
    }

    /// Places a state's row; its base.
    fn place(&mut self, owner: u32, edges: &[(u8, u32)]) -> u32 {
        let lowest = usize::from(edges[0].0);
        let mut base = None;
        // A base is never negative: no row begins before the cell of its lowest byte.
        let mut at = ROW_LEN;
        for _ in 0..MAX_TRIES {
            at = self.free_from(at);
            let tried = at - lowest;
            if edges.iter().all(|(byte, _)| self.is_free(tried + usize::from(*byte))) {
                base = Some(tried);
                break;
            }
            at += 1;
        }
        let base = base.unwrap_or(self.cells.len());
        self.grow(base + ROW_LEN);
        for (byte, next) in edges {
            let at = base + usize::from(*byte);
            self.cells[at] = Cell { owner, next: *next };
            self.next_free[at] = at as u32 + 1;
        }
        base as u32
    }
}

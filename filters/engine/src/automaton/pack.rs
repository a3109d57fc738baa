//! Transitions of all states in one array: each state's row is shifted until its entries fall into
//! free cells (row displacement: Tarjan and Yao, "Storing a sparse table", 1979).

use super::subsets::Dfa;
use crate::layout::{Cell, NONE, State};

/// So many shifts are tried before a row goes to the end.
const MAX_TRIES: usize = 64;
/// Room for any byte after the last base.
const ROW_LEN: usize = 256;
const FREE: Cell = Cell { owner: NONE, next: 0 };

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
    let mut cells = vec![FREE; ROW_LEN];
    let mut first_free = ROW_LEN;
    for index in order {
        let edges = &dfa.states[index].edges;
        let Some((lowest, _)) = edges.first() else { break };
        while cells.get(first_free).is_some_and(|cell| cell.owner != NONE) {
            first_free += 1;
        }
        let base = place(&cells, first_free, usize::from(*lowest), edges);
        if cells.len() < base + ROW_LEN {
            cells.resize(base + ROW_LEN, FREE);
        }
        for (byte, next) in edges {
            cells[base + usize::from(*byte)] = Cell { owner: index as u32, next: *next };
        }
        states[index].base = base as u32;
    }
    let bases = states.iter().map(|state| state.base as usize).max().unwrap_or(0);
    cells.resize(bases + ROW_LEN, FREE);
    (states, cells)
}

/// A base at which all entries fall into free cells.
fn place(cells: &[Cell], first_free: usize, lowest: usize, edges: &[(u8, u32)]) -> usize {
    let is_free = |at: usize| cells.get(at).is_none_or(|cell| cell.owner == NONE);
    let free = (first_free..cells.len()).filter(|at| is_free(*at)).take(MAX_TRIES);
    let mut bases = free.map(|at| at - lowest);
    let fits = |base: &usize| edges.iter().all(|(byte, _)| is_free(base + usize::from(*byte)));
    bases.find(fits).unwrap_or(cells.len())
}

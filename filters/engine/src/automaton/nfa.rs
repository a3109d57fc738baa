//! Patterns as a nondeterministic automaton.

use std::collections::HashMap;

use hsci_language::glob::{ByteSet, Component, Pattern, Piece};

/// Bytes after which a node stays where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stay {
    #[default]
    Never,
    /// Any byte of a name.
    Name,
    /// Any byte.
    Always,
}

#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) stay: Stay,
    /// Nodes that are reached without a byte.
    pub(crate) free: Vec<u32>,
    pub(crate) after_slash: Vec<u32>,
    pub(crate) after_byte: Vec<(u8, u32)>,
    pub(crate) after_set: Vec<(ByteSet, u32)>,
    /// What ends here.
    pub(crate) accepts: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Slash,
    Piece(Piece),
    AnyDepth,
}

/// A forest of patterns.
#[derive(Default)]
pub(crate) struct Nfa {
    pub(crate) nodes: Vec<Node>,
    children: HashMap<(u32, Step), u32>,
}

impl Nfa {
    /// A new root.
    pub(crate) fn root(&mut self) -> u32 {
        self.node(Stay::Never)
    }

    fn node(&mut self, stay: Stay) -> u32 {
        let index = u32::try_from(self.nodes.len()).expect("patterns are bounded");
        self.nodes.push(Node { stay, ..Node::default() });
        index
    }

    /// Adds a pattern below a root; `accept` is what its end stands for.
    pub(crate) fn add(&mut self, root: u32, pattern: &Pattern, accept: u32) {
        let mut at = root;
        for component in &pattern.components {
            match component {
                Component::AnyDepth => at = self.child(at, Step::AnyDepth),
                Component::Name(pieces) => {
                    at = self.child(at, Step::Slash);
                    for piece in pieces {
                        at = self.child(at, Step::Piece(*piece));
                    }
                }
            }
        }
        let accepts = &mut self.nodes[at as usize].accepts;
        if accepts.last() != Some(&accept) {
            accepts.push(accept);
        }
    }

    fn child(&mut self, at: u32, step: Step) -> u32 {
        if let Some(child) = self.children.get(&(at, step)) {
            return *child;
        }
        let child = match step {
            Step::Slash => {
                let child = self.node(Stay::Never);
                self.nodes[at as usize].after_slash.push(child);
                child
            }
            Step::Piece(Piece::Byte(byte)) => {
                let child = self.node(Stay::Never);
                self.nodes[at as usize].after_byte.push((byte, child));
                child
            }
            Step::Piece(Piece::Set(set)) => {
                let child = self.node(Stay::Never);
                self.nodes[at as usize].after_set.push((set, child));
                child
            }
            Step::Piece(Piece::Star) => {
                let child = self.node(Stay::Name);
                self.nodes[at as usize].free.push(child);
                child
            }
            // No name at all leads on; a slash leads into names, any number of which may follow.
            Step::AnyDepth => {
                let after = self.node(Stay::Never);
                let inside = self.node(Stay::Always);
                self.nodes[at as usize].free.push(after);
                self.nodes[at as usize].after_slash.push(inside);
                self.nodes[inside as usize].free.push(after);
                after
            }
        };
        self.children.insert((at, step), child);
        child
    }
}

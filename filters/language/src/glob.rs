//! Globs: what they are made of, and what they match by definition.
//!
//! A path is a sequence of names, written `/name/name`; the root is the empty text. A pattern is a
//! sequence of components, each of which matches one name, except `**`, which matches any number of
//! names, none included. A glob matches what one of its patterns matches: `{a,b}` makes several.

mod parse;
mod relation;

use std::fmt;

pub(crate) use parse::{Lists, parse};
pub use relation::Relation;

/// The longest path that is judged, in bytes.
pub const MAX_PATH_LEN: usize = 4096;

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// Every byte that a name may have.
    #[must_use]
    pub fn name_bytes() -> Self {
        let mut all = Self::default();
        (1..=255).filter(|byte| *byte != b'/').for_each(|byte| all.insert(byte));
        all
    }

    /// Adds a byte.
    pub fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte) / 64] |= 1 << (byte % 64);
    }

    /// True if `byte` is in it.
    #[must_use]
    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte) / 64] & 1 << (byte % 64) != 0
    }

    /// The bytes of a name that are not in it.
    #[must_use]
    pub fn complement(self) -> Self {
        let all = Self::name_bytes();
        Self(std::array::from_fn(|index| all.0[index] & !self.0[index]))
    }

    /// All bytes in it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=255).filter(|byte| self.contains(*byte))
    }
}

/// A piece of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Piece {
    /// This byte.
    Byte(u8),
    /// One byte out of a set that does not hold the slash; `?` is the set of all.
    Set(ByteSet),
    /// Any number of bytes.
    Star,
}

/// One part of a pattern between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// `**`: any number of names.
    AnyDepth,
    /// One name.
    Name(Vec<Piece>),
}

/// A sequence of components.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// True if it was written with a leading slash.
    pub absolute: bool,
    /// The components.
    pub components: Vec<Component>,
}

impl Pattern {
    /// The directories that all paths which an absolute pattern matches lie in, from the outermost on.
    pub(crate) fn directories(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let byte = |piece: &Piece| match piece {
            Piece::Byte(byte) => Some(*byte),
            _ => None,
        };
        let names = self.components.iter().map_while(move |component| match component {
            Component::Name(pieces) => pieces.iter().map(byte).collect::<Option<Vec<u8>>>(),
            Component::AnyDepth => None,
        });
        let above = self.components.len().saturating_sub(1);
        let mut path = Vec::new();
        names.take(if self.absolute { above } else { 0 }).map(move |name| {
            path.push(b'/');
            path.extend(name);
            path.clone()
        })
    }

    /// True if the pattern matches the names.
    #[must_use]
    pub fn matches(&self, names: &[&[u8]]) -> bool {
        let is_star = |component: &Component| *component == Component::AnyDepth;
        let is_match = |component: &Component, name: &&[u8]| match component {
            Component::AnyDepth => true,
            Component::Name(pieces) => matches_name(pieces, name),
        };
        wildcard(&self.components, names, is_star, is_match)
    }

    /// The text that every match begins with, in the form `/name/na`.
    #[must_use]
    pub fn literal_prefix(&self) -> Vec<u8> {
        let mut prefix = Vec::new();
        for component in &self.components {
            let Component::Name(pieces) = component else { break };
            prefix.push(b'/');
            for piece in pieces {
                let Piece::Byte(byte) = piece else { return prefix };
                prefix.push(*byte);
            }
        }
        prefix
    }

    /// The text that every match ends with.
    #[must_use]
    pub fn literal_suffix(&self) -> Vec<u8> {
        let mut reversed = Vec::new();
        for component in self.components.iter().rev() {
            let Component::Name(pieces) = component else { break };
            for piece in pieces.iter().rev() {
                let Piece::Byte(byte) = piece else {
                    reversed.reverse();
                    return reversed;
                };
                reversed.push(*byte);
            }
            reversed.push(b'/');
        }
        reversed.reverse();
        reversed
    }

    /// The one path it matches, if it has no wildcard.
    #[must_use]
    pub fn literal(&self) -> Option<Vec<u8>> {
        let is_byte = |piece: &Piece| matches!(piece, Piece::Byte(_));
        let is_plain = |component: &Component| match component {
            Component::AnyDepth => false,
            Component::Name(pieces) => pieces.iter().all(is_byte),
        };
        self.components.iter().all(is_plain).then(|| self.literal_prefix())
    }

    /// This pattern below another one.
    #[must_use]
    pub fn below(&self, root: &Self) -> Self {
        let components = root.components.iter().chain(&self.components).cloned().collect();
        Self { absolute: root.absolute, components }
    }
}

fn matches_name(pieces: &[Piece], name: &[u8]) -> bool {
    let is_star = |piece: &Piece| *piece == Piece::Star;
    let is_match = |piece: &Piece, byte: &u8| match piece {
        Piece::Byte(wanted) => wanted == byte,
        Piece::Set(set) => set.contains(*byte),
        Piece::Star => true,
    };
    wildcard(pieces, name, is_star, is_match)
}

/// True if `pattern` matches all of `text`, where a star matches any number of items and all else
/// matches one. What an earlier star might have taken never helps once a later star is reached, so
/// only the last one is tried again.
fn wildcard<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    is_match: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut in_pattern, mut in_text) = (0, 0);
    let mut last_star = None;
    loop {
        match pattern.get(in_pattern) {
            Some(item) if is_star(item) => {
                last_star = Some((in_pattern + 1, in_text));
                in_pattern += 1;
                continue;
            }
            Some(item) if in_text < text.len() && is_match(item, &text[in_text]) => {
                (in_pattern, in_text) = (in_pattern + 1, in_text + 1);
                continue;
            }
            None if in_text == text.len() => return true,
            _ => {}
        }
        match last_star {
            Some((after_star, taken)) if taken < text.len() => {
                last_star = Some((after_star, taken + 1));
                (in_pattern, in_text) = (after_star, taken + 1);
            }
            _ => return false,
        }
    }
}

/// A glob: its text, and the patterns that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    /// As it was written.
    pub text: String,
    /// At least one.
    pub patterns: Vec<Pattern>,
}

impl Glob {
    /// The glob that matches everything.
    #[must_use]
    pub fn everything() -> Self {
        let pattern = Pattern { absolute: false, components: vec![Component::AnyDepth] };
        Self { text: "**".to_owned(), patterns: vec![pattern] }
    }

    /// True if it matches the names.
    #[must_use]
    pub fn matches(&self, names: &[&[u8]]) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(names))
    }

    /// The one text it matches, if there is only one.
    #[must_use]
    pub fn literal(&self) -> Option<Vec<u8>> {
        match self.patterns.as_slice() {
            [pattern] => pattern.literal(),
            _ => None,
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A path as a glob that matches it alone. Bytes that are no UTF-8, or could not stand in a text, are escaped.
#[must_use]
pub fn escape(path: &[u8]) -> String {
    let mut glob = String::new();
    for chunk in path.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' | '"' | '*' | '?' | '[' | ']' | '{' | '}' | ',' | '$' => {
                    glob.push('\\');
                    glob.push(character);
                }
                _ if character.is_control() => {
                    let mut bytes = [0; 4];
                    for byte in character.encode_utf8(&mut bytes).bytes() {
                        glob.push_str(&format!("\\x{byte:02x}"));
                    }
                }
                _ => glob.push(character),
            }
        }
        for byte in chunk.invalid() {
            glob.push_str(&format!("\\x{byte:02x}"));
        }
    }
    glob
}

/// The names of a path in the form `/name/name`.
#[must_use]
pub fn names(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').skip(1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        let patterns = parse(text, &Lists::default()).unwrap_or_else(|fault| panic!("{fault:?}"));
        Glob { text: text.to_owned(), patterns }
    }

    fn matches(text: &str, path: &str) -> bool {
        glob(text).matches(&names(path.as_bytes()))
    }

    #[test]
    fn stars_stay_within_a_name() {
        assert!(matches("/home/*/mail", "/home/alice/mail"));
        assert!(!matches("/home/*/mail", "/home/alice/x/mail"));
        assert!(matches("/a*c*e", "/abcde"));
        assert!(matches("/a*c*e", "/ace"));
        assert!(!matches("/a*c*e", "/abcd"));
        assert!(matches("/*", "/.hidden"));
        assert!(!matches("/a/*", "/a"));
    }

    #[test]
    fn two_stars_are_any_number_of_names() {
        for path in ["", "/a", "/a/b/c"] {
            assert!(matches("/**", path));
        }
        assert!(matches("/srv/**", "/srv"));
        assert!(!matches("/srv/**", "/srvx"));
        assert!(matches("/**/x/**/y", "/x/y"));
        assert!(matches("/**/x/**/y", "/a/x/b/x/c/y"));
        assert!(!matches("/**/x/**/y", "/y/x"));
        assert!(matches("**/*.key", "/a/b.key"));
        assert!(!matches("/a/**/*", "/a"));
    }

    #[test]
    fn sets_choices_and_escapes() {
        assert!(matches("/[a-c]?", "/bz"));
        assert!(!matches("/[a-c]?", "/dz"));
        assert!(matches("/[!a-c]", "/d"));
        assert!(!matches("/[!a-c]", "/a"));
        assert!(matches("/[]x]", "/]"));
        assert!(matches("/x.{jpg,tar.{gz,xz}}", "/x.tar.xz"));
        assert!(matches("/{a/b,c}/d", "/a/b/d"));
        assert!(matches("/x{,.bak}", "/x"));
        assert!(matches("/\\*\\x41", "/*A"));
        assert!(!matches("/\\*", "/b"));
        assert!(matches("/\u{e9}", "/\u{e9}"));
    }

    #[test]
    fn an_escaped_path_is_itself() {
        for path in [&b"/a b/*?[x]{y,z}$h\\\"!-^"[..], b"/\xff\n\x01\xc2\x85\xc3\xa9", b"/plain"] {
            assert_eq!(glob(&escape(path)).literal().as_deref(), Some(path));
        }
    }

    #[test]
    fn prefixes_and_literals() {
        assert_eq!(glob("/a/b*/c").patterns[0].literal_prefix(), b"/a/b");
        assert_eq!(glob("/a/**").patterns[0].literal_prefix(), b"/a");
        assert_eq!(glob("/**/a*c/d.e").patterns[0].literal_suffix(), b"c/d.e");
        assert_eq!(glob("/a/**").patterns[0].literal_suffix(), b"");
        assert_eq!(glob("/a/b").patterns[0].literal_suffix(), b"/a/b");
        assert_eq!(glob("/a/b").literal(), Some(b"/a/b".to_vec()));
        assert_eq!(glob("/a/?").literal(), None);
        assert_eq!(glob("/{a,b}").literal(), None);
    }
}

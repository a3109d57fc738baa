//! The text of a glob to its patterns.

use std::collections::BTreeMap;

use super::{ByteSet, Component, MAX_PATH_LEN, Pattern, Piece};
use crate::diagnostic::Code;

/// What a glob's `$name` stands for: texts that are read as globs themselves.
pub(crate) type Lists = BTreeMap<String, Vec<String>>;

/// `{...}` may make this many patterns of one glob.
pub(crate) const MAX_ALTERNATIVES: usize = 4096;

/// Braces may be nested this deep.
const MAX_DEPTH: usize = 16;

/// What is wrong, and where in the text.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) title: String,
    pub(crate) hint: &'static str,
    /// Bytes of the text that are to blame.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

type Parsed<T> = Result<T, Fault>;

/// One item of a glob before choices are expanded.
#[derive(Clone, Copy, PartialEq)]
enum Item {
    Piece(Piece),
    Slash,
}

/// Item sequences, one for each way of choosing.
type Ways = Vec<Vec<Item>>;

/// Reads a glob.
pub(crate) fn parse(text: &str, lists: &Lists) -> Parsed<Vec<Pattern>> {
    let whole = |code, title: &str, hint| Fault {
        code,
        title: title.to_owned(),
        hint,
        start: 0,
        end: text.len(),
    };
    if text.is_empty() {
        let hint = "`**` matches everything in a target, `/**` everything there is";
        return Err(whole(Code::EmptyGlob, "an empty glob matches nothing", hint));
    }
    if text.len() > MAX_PATH_LEN {
        let hint = "no path is longer than 4096 bytes";
        return Err(whole(Code::GlobTooLong, "a glob of more than 4096 bytes", hint));
    }
    let mut parser = Parser { text: text.as_bytes(), at: 0, depth: 0, lists };
    let ways = parser.sequence()?;
    if parser.at < text.len() {
        let hint = "a brace that is part of a name is written `\\}`";
        return Err(parser.fault(Code::StrayBrace, "`}` without `{`", hint, parser.at, 1));
    }
    ways.iter()
        .map(|items| pattern(items).map_err(|(code, title, hint)| whole(code, title, hint)))
        .collect()
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    lists: &'a Lists,
}

impl Parser<'_> {
    fn fault(
        &self,
        code: Code,
        title: impl Into<String>,
        hint: &'static str,
        start: usize,
        len: usize,
    ) -> Fault {
        Fault { code, title: title.into(), hint, start, end: (start + len).min(self.text.len()) }
    }

    /// Reads up to the end, or inside of braces up to `,` or `}`.
    fn sequence(&mut self) -> Parsed<Ways> {
        let mut ways: Ways = vec![Vec::new()];
        while let Some(&byte) = self.text.get(self.at) {
            let start = self.at;
            let next: Ways = match byte {
                b'}' => break,
                b',' if self.depth > 0 => break,
                b'{' => self.choice()?,
                b'$' => self.list()?,
                b'[' => vec![vec![Item::Piece(Piece::Set(self.class()?))]],
                b'\\' => vec![vec![Item::Piece(Piece::Byte(self.escape()?))]],
                _ => {
                    self.at += 1;
                    vec![vec![plain(byte)]]
                }
            };
            ways = self.join(ways, &next, start)?;
        }
        Ok(ways)
    }

    fn join(&self, mut ways: Ways, next: &Ways, start: usize) -> Parsed<Ways> {
        if let [only] = next.as_slice() {
            ways.iter_mut().for_each(|way| way.extend(only));
            return Ok(ways);
        }
        if ways.len() * next.len() > MAX_ALTERNATIVES {
            let title = format!("more than {MAX_ALTERNATIVES} alternatives in one glob");
            let hint = "split the rule";
            let len = self.at - start;
            return Err(self.fault(Code::TooManyAlternatives, title, hint, start, len));
        }
        let both = |way: &Vec<Item>, tail: &Vec<Item>| way.iter().chain(tail).copied().collect();
        Ok(ways.iter().flat_map(|way| next.iter().map(move |tail| both(way, tail))).collect())
    }

    fn choice(&mut self) -> Parsed<Ways> {
        let start = self.at;
        if self.depth == MAX_DEPTH {
            let title = format!("braces nested more than {MAX_DEPTH} deep");
            return Err(self.fault(Code::TooManyAlternatives, title, "split the rule", start, 1));
        }
        self.depth += 1;
        let mut ways = Ways::new();
        loop {
            self.at += 1;
            ways.extend(self.sequence()?);
            match self.text.get(self.at) {
                Some(b',') => {}
                Some(_) => break,
                None => {
                    let hint = "close it, or write `\\{` for a brace that is part of a name";
                    let title = "`{` without `}`";
                    return Err(self.fault(Code::UnclosedBrace, title, hint, start, 1));
                }
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(ways)
    }

    fn list(&mut self) -> Parsed<Ways> {
        let start = self.at;
        self.at += 1;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let rest = &self.text[self.at..];
        let len = rest.iter().position(|byte| !is_name(byte)).unwrap_or(rest.len());
        let name = String::from_utf8_lossy(&rest[..len]).into_owned();
        self.at += len;
        let Some(values) = self.lists.get(&name) else {
            let title = format!("there is no list `{name}`");
            let hint = "a list is made by `list NAME = {...}`; a dollar in a name is written `\\$`";
            return Err(self.fault(Code::UnknownList, title, hint, start, len + 1));
        };
        let mut ways = Ways::new();
        // Lists do not hold lists, so that reading one always ends.
        let none = Lists::default();
        for value in values {
            let mut inner = Parser { text: value.as_bytes(), at: 0, depth: 0, lists: &none };
            let read = inner.sequence().map_err(|mut fault| {
                fault.title = format!("in `{value}` of list `{name}`: {}", fault.title);
                (fault.start, fault.end) = (start, start + len + 1);
                fault
            })?;
            ways.extend(read);
        }
        Ok(ways)
    }

    fn escape(&mut self) -> Parsed<u8> {
        const HINT: &str = "`\\` stands before one of \\ \" * ? [ ] { } , $ - ! ^ or before `x` and two hex digits";
        let start = self.at;
        let escaped = self.text.get(start + 1).copied();
        match escaped {
            Some(b'x') => {
                let digits = self.text.get(start + 2..start + 4).unwrap_or_default();
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                let is_hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                if !is_hex {
                    let title = "`\\x` without two hex digits";
                    return Err(self.fault(Code::BadEscape, title, HINT, start, 2));
                }
                self.at += 4;
                match u8::from_str_radix(digits, 16) {
                    Ok(byte) if byte != 0 && byte != b'/' => Ok(byte),
                    _ => {
                        let title = "no name contains a NUL or a slash";
                        let hint = "write `/` between names";
                        Err(self.fault(Code::NulByte, title, hint, start, 4))
                    }
                }
            }
            Some(byte) if b"\\\"*?[]{},$-!^".contains(&byte) => {
                self.at += 2;
                Ok(byte)
            }
            _ => Err(self.fault(Code::BadEscape, "nothing that can be escaped", HINT, start, 2)),
        }
    }

    /// `[a-z]`, `[!a-z]`; `]` right after the opening is a member.
    fn class(&mut self) -> Parsed<ByteSet> {
        let start = self.at;
        self.at += 1;
        let negated = matches!(self.text.get(self.at), Some(b'!' | b'^'));
        self.at += usize::from(negated);
        let first = self.at;
        let mut set = ByteSet::default();
        loop {
            match self.text.get(self.at) {
                None | Some(b'/') => {
                    let hint = "close it, or write `\\[` for a bracket that is part of a name";
                    let len = self.at - start;
                    return Err(self.fault(
                        Code::UnclosedClass,
                        "`[` without `]`",
                        hint,
                        start,
                        len,
                    ));
                }
                Some(b']') if self.at > first => break,
                Some(_) => self.range(&mut set)?,
            }
        }
        self.at += 1;
        let set = if negated { set.complement() } else { set };
        if set == ByteSet::default() {
            let hint = "name the bytes it is to match";
            let len = self.at - start;
            return Err(self.fault(Code::EmptyClass, "matches no byte at all", hint, start, len));
        }
        Ok(set)
    }

    fn range(&mut self, set: &mut ByteSet) -> Parsed<()> {
        let start = self.at;
        let low = self.member()?;
        let mut high = low;
        let is_range = self.text.get(self.at) == Some(&b'-')
            && self.text.get(self.at + 1).is_some_and(|byte| *byte != b']');
        if is_range {
            self.at += 1;
            high = self.member()?;
        }
        if low > high {
            let hint = "the smaller byte comes first";
            let len = self.at - start;
            return Err(self.fault(Code::ReversedRange, "a range that is empty", hint, start, len));
        }
        (low..=high).filter(|byte| *byte != b'/').for_each(|byte| set.insert(byte));
        Ok(())
    }

    fn member(&mut self) -> Parsed<u8> {
        match self.text.get(self.at) {
            Some(b'\\') => self.escape(),
            Some(byte) if byte.is_ascii() => {
                self.at += 1;
                Ok(*byte)
            }
            _ => {
                let len = self.text[self.at..].iter().take_while(|byte| !byte.is_ascii()).count();
                let title = "a class holds bytes, and this character has several";
                let hint = "use `{a,b}` for characters beyond ASCII";
                Err(self.fault(Code::NonAsciiClass, title, hint, self.at, len))
            }
        }
    }
}

fn plain(byte: u8) -> Item {
    match byte {
        b'/' => Item::Slash,
        b'*' => Item::Piece(Piece::Star),
        b'?' => Item::Piece(Piece::Set(ByteSet::name_bytes())),
        _ => Item::Piece(Piece::Byte(byte)),
    }
}

type PatternFault = (Code, &'static str, &'static str);

/// Checks one way of choosing, and cuts it at its slashes.
fn pattern(items: &[Item]) -> Result<Pattern, PatternFault> {
    let absolute = items.first() == Some(&Item::Slash);
    let rest = &items[usize::from(absolute)..];
    if absolute && rest.is_empty() {
        return Ok(Pattern { absolute, components: Vec::new() });
    }
    let components = rest.split(|item| *item == Item::Slash).map(component);
    Ok(Pattern { absolute, components: components.collect::<Result<_, _>>()? })
}

fn component(items: &[Item]) -> Result<Component, PatternFault> {
    let piece = |item: &Item| match item {
        Item::Piece(piece) => *piece,
        Item::Slash => unreachable!("cut at slashes"),
    };
    let pieces: Vec<Piece> = items.iter().map(piece).collect();
    let is_name = |name: &[u8]| {
        let bytes = name.iter().map(|byte| Piece::Byte(*byte));
        pieces.iter().copied().eq(bytes)
    };
    if pieces.is_empty() {
        let hint = "write single slashes, and none at the end";
        return Err((Code::EmptyComponent, "a name is missing next to a slash", hint));
    }
    if is_name(b".") || is_name(b"..") {
        let hint = "paths are judged after `.` and `..` are resolved: leave them out";
        return Err((Code::DotComponent, "no path contains the names `.` and `..`", hint));
    }
    match pieces.as_slice() {
        [Piece::Star, Piece::Star] => Ok(Component::AnyDepth),
        _ if pieces.windows(2).any(|pair| pair == [Piece::Star, Piece::Star]) => Err((
            Code::MisplacedDoubleStar,
            "`**` matches whole names, so it stands alone between slashes",
            "write `*` within a name, `**/` for any number of directories",
        )),
        _ => Ok(Component::Name(pieces)),
    }
}

//! Names of algorithms: `zstd`, `zstd:-7` to `zstd:22`, `lz4`, `deflate:1` to `deflate:9`, `none`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::codec::Codec;

/// Levels of zstd.
pub(crate) const ZSTD_LEVELS: RangeInclusive<i8> = -7..=22;
/// Levels of deflate.
pub(crate) const DEFLATE_LEVELS: RangeInclusive<u8> = 1..=9;

const ZSTD_DEFAULT: i8 = 3;
const DEFLATE_DEFAULT: u8 = 6;
const NAMES: &str = "zstd, zstd:-7 to zstd:22, lz4, deflate:1 to deflate:9, gzip, none";

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Algorithm {
    /// Zstandard at one of [`ZSTD_LEVELS`]. Level 0 stands for the default and is never kept.
    Zstd(i8),
    /// LZ4.
    Lz4,
    /// Deflate at one of [`DEFLATE_LEVELS`].
    Deflate(u8),
    /// Not compressed at all.
    None,
}

impl Algorithm {
    /// The codec whose framing an image made with this algorithm has. An image that has to exist
    /// although nothing is to be compressed is one of zstd's, with every chunk stored.
    pub(crate) fn codec(self) -> Codec {
        match self {
            Self::Zstd(_) | Self::None => Codec::Zstd,
            Self::Lz4 => Codec::Lz4,
            Self::Deflate(_) => Codec::Deflate,
        }
    }

    /// As the format has it: a number for the name, and the level, 0 where there is none.
    pub(crate) fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::None => [0, 0],
            Self::Zstd(level) => [1, level as u8],
            Self::Lz4 => [2, 0],
            Self::Deflate(level) => [3, level],
        }
    }

    /// The reverse of [`Self::to_bytes`]; `None` for bytes that it never gives.
    pub(crate) fn from_bytes(bytes: [u8; 2]) -> Option<Self> {
        match bytes {
            [0, 0] => Some(Self::None),
            [1, level] if level != 0 && ZSTD_LEVELS.contains(&(level as i8)) => {
                Some(Self::Zstd(level as i8))
            }
            [2, 0] => Some(Self::Lz4),
            [3, level] if DEFLATE_LEVELS.contains(&level) => Some(Self::Deflate(level)),
            _ => None,
        }
    }
}

/// Why a text names no algorithm, in one line that says which ones there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// The name is not known.
    #[error("unknown algorithm; there are: {NAMES}")]
    Name,
    /// The level does not exist.
    #[error("levels of {name} run from {least} to {most}")]
    Level { name: &'static str, least: i8, most: i8 },
    /// The algorithm has no levels.
    #[error("{0} has no levels")]
    NoLevels(&'static str),
}

impl FromStr for Algorithm {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level)),
            None => (text, None),
        };
        match (name, level) {
            ("zstd", None) => Ok(Self::Zstd(ZSTD_DEFAULT)),
            ("zstd", Some(level)) => {
                let level = parse_level("zstd", level, ZSTD_LEVELS)?;
                Ok(Self::Zstd(if level == 0 { ZSTD_DEFAULT } else { level }))
            }
            ("deflate" | "gzip", None) => Ok(Self::Deflate(DEFLATE_DEFAULT)),
            ("deflate" | "gzip", Some(level)) => {
                let (least, most) = DEFLATE_LEVELS.into_inner();
                let level = parse_level("deflate", level, least as i8..=most as i8)?;
                Ok(Self::Deflate(level as u8))
            }
            ("lz4", None) => Ok(Self::Lz4),
            ("none", None) => Ok(Self::None),
            ("lz4", Some(_)) => Err(ParseError::NoLevels("lz4")),
            ("none", Some(_)) => Err(ParseError::NoLevels("none")),
            _ => Err(ParseError::Name),
        }
    }
}

fn parse_level(
    name: &'static str,
    text: &str,
    levels: RangeInclusive<i8>,
) -> Result<i8, ParseError> {
    let level = text.parse().ok().filter(|level| levels.contains(level));
    level.ok_or(ParseError::Level { name, least: *levels.start(), most: *levels.end() })
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zstd(level) => write!(formatter, "zstd:{level}"),
            Self::Lz4 => formatter.write_str("lz4"),
            Self::Deflate(level) => write!(formatter, "deflate:{level}"),
            Self::None => formatter.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Algorithm, String> {
        text.parse::<Algorithm>().map_err(|error| error.to_string())
    }

    fn all() -> Vec<Algorithm> {
        let zstd = ZSTD_LEVELS.filter(|level| *level != 0).map(Algorithm::Zstd);
        let deflate = DEFLATE_LEVELS.map(Algorithm::Deflate);
        zstd.chain(deflate).chain([Algorithm::Lz4, Algorithm::None]).collect()
    }

    #[test]
    fn every_algorithm_is_read_back_from_its_text() {
        for algorithm in all() {
            assert_eq!(parse(&algorithm.to_string()), Ok(algorithm));
        }
    }

    #[test]
    fn bytes_that_mean_an_algorithm_are_the_ones_it_has() {
        let meant = (0..=u16::MAX)
            .filter_map(|bytes| {
                let algorithm = Algorithm::from_bytes(bytes.to_le_bytes())?;
                assert_eq!(algorithm.to_bytes(), bytes.to_le_bytes());
                Some(algorithm)
            })
            .count();
        assert_eq!(meant, all().len());
        assert!(all().iter().all(|one| Algorithm::from_bytes(one.to_bytes()) == Some(*one)));
    }

    #[test]
    fn names_without_level_have_a_default() {
        assert_eq!(parse("zstd"), Ok(Algorithm::Zstd(3)));
        assert_eq!(parse("zstd:0"), Ok(Algorithm::Zstd(3)));
        assert_eq!(parse("deflate"), Ok(Algorithm::Deflate(6)));
        assert_eq!(parse("gzip:9"), Ok(Algorithm::Deflate(9)));
    }

    #[test]
    fn what_is_refused_is_told_what_there_is() {
        for text in ["", "zst", "ZSTD", "zstd3", ":3", "brotli:4", "gzip2"] {
            assert_eq!(
                parse(text),
                Err("unknown algorithm; there are: zstd, zstd:-7 to zstd:22, lz4, \
                     deflate:1 to deflate:9, gzip, none"
                    .to_owned())
            );
        }
        for text in ["zstd:", "zstd:23", "zstd:-8", "zstd:3.5", "zstd: 3", "zstd:999999999999"] {
            assert_eq!(parse(text), Err("levels of zstd run from -7 to 22".to_owned()));
        }
        for text in ["deflate:0", "gzip:10", "deflate:-1", "gzip:"] {
            assert_eq!(parse(text), Err("levels of deflate run from 1 to 9".to_owned()));
        }
        assert_eq!(parse("lz4:1"), Err("lz4 has no levels".to_owned()));
        assert_eq!(parse("none:"), Err("none has no levels".to_owned()));
    }
}

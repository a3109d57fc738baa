//! The options of an extension: declared once, from which the command takes help texts, checks and
//! defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Why a text is not a value of a kind; the text of a one-line message.
pub type Complaint = String;

/// What an option's value looks like.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum OptionKind {
    /// `yes` or `no`; the bare name means `yes`.
    Flag,
    /// A whole number in a range.
    Number {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// A size in bytes with an optional `K`, `M` or `G` (powers of 1024).
    Size {
        /// Smallest value in bytes.
        min: u64,
        /// Largest value in bytes.
        max: u64,
    },
    /// A time in seconds, with an optional `ms`, `s`, `m` or `h`.
    Time,
    /// A path, which the command makes absolute.
    Path,
    /// Something that nobody else may see: the command reads it from a file or a descriptor, and passes it on by
    /// other ways than the command line.
    Secret,
    /// Text that the extension checks itself.
    Text {
        /// Says what is wrong with a value.
        check: fn(&str) -> Result<(), Complaint>,
        /// What to call the value in help texts.
        placeholder: &'static str,
    },
}

/// One option.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct OptionSpec {
    /// The name, as in `-o name=value`.
    pub name: &'static str,
    /// What it does, one line.
    pub help: &'static str,
    /// What a value looks like.
    pub kind: OptionKind,
    /// The value where none is given.
    pub default: &'static str,
    /// What is stored can be read with the value alone that it was stored with: the store keeps it, takes no other
    /// one, and gives it where none is given. Secrets are never kept.
    pub recorded: bool,
}

impl OptionSpec {
    /// An option: its name, one line of help, what a value looks like, and the value where none is given.
    #[must_use]
    pub const fn new(
        name: &'static str,
        help: &'static str,
        kind: OptionKind,
        default: &'static str,
    ) -> Self {
        Self { name, help, kind, default, recorded: false }
    }

    /// An option without whose value what is stored cannot be read.
    #[must_use]
    pub const fn recorded(self) -> Self {
        Self { recorded: true, ..self }
    }
}

/// How the files of a mount are used. It is the host's; an extension that leaves files to the kernel
/// ([`Opened::passthrough`](crate::Opened)) has it among its own.
pub const PROFILE: OptionSpec = OptionSpec::new(
    "profile",
    "`data`: files that are stored as they are, are left to the kernel while they are open; for databases and images of disks",
    OptionKind::Text { check: check_profile, placeholder: "default|data" },
    "default",
);
const DATA: &str = "data";

fn check_profile(text: &str) -> Result<(), Complaint> {
    match text {
        "default" | DATA => Ok(()),
        _ => Err("there are the profiles `default` and `data`".to_owned()),
    }
}

/// Checked options: every declared name has a value that its kind allows. Values are not shown, for there may
/// be secrets among them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<&'static str, String>);

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Options {
    /// Checks given names and values against the declared options, and fills in the defaults.
    pub fn check<'a>(
        specs: &[OptionSpec],
        given: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Complaint> {
        let mut values: BTreeMap<_, _> =
            specs.iter().map(|spec| (spec.name, spec.default.to_owned())).collect();
        for (name, value) in given {
            let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
                // Each once, be it declared by several of a stack.
                let known: Vec<_> = values.keys().copied().collect();
                return Err(match known.as_slice() {
                    [] => format!("unknown option `{name}`: this extension takes none"),
                    _ => format!("unknown option `{name}`; there are: {}", known.join(", ")),
                });
            };
            let value = if value.is_empty() && matches!(spec.kind, OptionKind::Flag) {
                "yes"
            } else {
                value
            };
            spec.kind.check(value).map_err(|why| match spec.kind {
                OptionKind::Secret => format!("option `{name}`: {why}"),
                _ => format!("option `{name}={value}`: {why}"),
            })?;
            values.insert(spec.name, value.to_owned());
        }
        Ok(Self(values))
    }

    /// The value of a declared option.
    ///
    /// # Panics
    /// If the extension never declared it.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("option `{name}` is not declared"))
    }

    /// True for [`PROFILE`] `data`.
    ///
    /// # Panics
    /// If the option is not declared.
    #[must_use]
    pub fn has_data_profile(&self) -> bool {
        self.text(PROFILE.name) == DATA
    }

    /// The value of a declared [`OptionKind::Flag`].
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.text(name) == "yes"
    }

    /// The value of a declared [`OptionKind::Number`].
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        self.text(name).parse().expect("checked when it was set")
    }

    /// The value of a declared [`OptionKind::Size`], in bytes.
    #[must_use]
    pub fn size(&self, name: &str) -> u64 {
        parse_size(self.text(name)).expect("checked when it was set")
    }

    /// The value of a declared [`OptionKind::Time`].
    #[must_use]
    pub fn time(&self, name: &str) -> Duration {
        parse_time(self.text(name)).expect("checked when it was set")
    }
}

impl OptionKind {
    fn check(&self, value: &str) -> Result<(), Complaint> {
        let in_range = |number: u64, min: u64, max: u64| {
            if (min..=max).contains(&number) {
                Ok(())
            } else {
                Err(format!("must lie between {min} and {max}"))
            }
        };
        match *self {
            Self::Flag if matches!(value, "yes" | "no") => Ok(()),
            Self::Flag => Err("must be `yes` or `no`".to_owned()),
            Self::Number { min, max } => {
                let number = value.parse().map_err(|_| "is not a whole number".to_owned())?;
                in_range(number, min, max)
            }
            Self::Size { min, max } => in_range(parse_size(value)?, min, max),
            Self::Time => parse_time(value).map(drop),
            Self::Path if value.is_empty() || value.starts_with('/') => Ok(()),
            Self::Path => Err("must be an absolute path".to_owned()),
            Self::Secret => Ok(()),
            Self::Text { check, .. } => check(value),
        }
    }
}

fn parse_size(text: &str) -> Result<u64, Complaint> {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']);
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err("is not a size such as 131072, 128K or 1M".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "is not a size such as 131072, 128K or 1M")?;
    number.checked_mul(1 << shift).ok_or_else(|| "is too large".to_owned())
}

fn parse_time(text: &str) -> Result<Duration, Complaint> {
    let complaint = || "is not a time such as 5, 500ms or 2m".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| complaint())?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(complaint()),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| complaint())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: [OptionSpec; 3] = [
        OptionSpec::new(
            "chunk",
            "bytes per chunk",
            OptionKind::Size { min: 4096, max: 1 << 20 },
            "128K",
        ),
        OptionSpec::new("scan", "look", OptionKind::Flag, "no"),
        OptionSpec::new("settle", "wait", OptionKind::Time, "5"),
    ];

    #[test]
    fn defaults_hold_until_something_is_given() {
        let options = Options::check(&SPECS, [("scan", ""), ("settle", "500ms")]).expect("valid");
        assert_eq!(options.size("chunk"), 131_072);
        assert!(options.flag("scan"));
        assert_eq!(options.time("settle"), Duration::from_millis(500));
    }

    #[test]
    fn complaints_name_the_option_and_the_way_out() {
        let complain = |name, value| Options::check(&SPECS, [(name, value)]).expect_err("invalid");
        assert_eq!(complain("chnk", "1"), "unknown option `chnk`; there are: chunk, scan, settle");
        assert_eq!(complain("chunk", "1K"), "option `chunk=1K`: must lie between 4096 and 1048576");
        assert_eq!(complain("scan", "maybe"), "option `scan=maybe`: must be `yes` or `no`");
        assert!(complain("settle", "-1").contains("is not a time"));
        assert!(complain("chunk", "99999999999999999999G").contains("is not a size"));
    }

    #[test]
    fn secrets_are_in_no_message() {
        let specs = [OptionSpec::new("key", "the key", OptionKind::Secret, "")];
        let options = Options::check(&specs, [("key", "hunter2")]).expect("valid");
        assert_eq!(options.text("key"), "hunter2");
        assert!(!format!("{options:?}").contains("hunter2"));
        let path = [OptionSpec::new("file", "a file", OptionKind::Path, "")];
        let complaint = Options::check(&path, [("file", "here")]).expect_err("not absolute");
        assert_eq!(complaint, "option `file=here`: must be an absolute path");
    }
}

//! Operations that rules speak of, alone and in groups.

pub use hsci_abi::Operation;

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operations(u32);

/// The named groups, with what they hold.
pub const GROUPS: &[(&str, &[Operation])] = &[
    ("read", &[Operation::ReadData, Operation::ReadDir, Operation::ReadLink]),
    ("write", &[Operation::WriteData, Operation::Truncate, Operation::Allocate]),
    (
        "metadata",
        &[
            Operation::Chmod,
            Operation::Chown,
            Operation::Utimens,
            Operation::SetXattr,
            Operation::RemoveXattr,
        ],
    ),
    (
        "create",
        &[
            Operation::CreateFile,
            Operation::Mkdir,
            Operation::Mknod,
            Operation::Symlink,
            Operation::Link,
        ],
    ),
    ("remove", &[Operation::Unlink, Operation::Rmdir]),
    ("*", Operation::ALL),
];

impl Operations {
    /// Tables have room for this many operations.
    pub const MAX: usize = 32;

    /// Every operation.
    #[must_use]
    pub fn all() -> Self {
        Self::of(Operation::ALL)
    }

    /// The given operations.
    #[must_use]
    pub fn of(operations: &[Operation]) -> Self {
        Self(operations.iter().fold(0, |bits, operation| bits | 1 << operation.number()))
    }

    /// The operation or group of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let group = GROUPS.iter().find(|(group, _)| *group == name);
        let single = || Operation::parse(name).map(|operation| Self::of(&[operation]));
        group.map(|(_, operations)| Self::of(operations)).or_else(single)
    }

    /// All names that [`Operations::parse`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let groups = GROUPS.iter().map(|(group, _)| *group);
        groups.chain(Operation::ALL.iter().map(|operation| operation.name()))
    }

    /// True if `operation` is one of them.
    #[must_use]
    pub fn contains(self, operation: Operation) -> bool {
        self.0 & 1 << operation.number() != 0
    }

    /// True if all of `other` are among them.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// True if any of `other` is among them.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        other.0 & self.0 != 0
    }

    /// What either holds.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_list_and_fit_the_tables() {
        for (number, operation) in Operation::ALL.iter().enumerate() {
            assert_eq!(usize::from(operation.number()), number);
            assert_eq!(Operation::parse(operation.name()), Some(*operation));
        }
        assert!(Operation::ALL.len() <= Operations::MAX);
    }

    #[test]
    fn a_group_is_never_called_like_an_operation() {
        for (group, operations) in GROUPS {
            assert_eq!(Operation::parse(group), None);
            assert!(Operations::all().covers(Operations::of(operations)));
        }
    }
}

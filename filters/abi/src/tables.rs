//! The records of compiled tables: arrays of 32-bit words, no pointers. What each field means stands where
//! tables are read, in the engine.

use crate::record::{Described, Record};

/// In place of an index: there is none.
pub const NONE: u32 = u32::MAX;
/// Set in a reference to a leaf of a decision diagram; the other bits are the leaf's value.
pub const LEAF: u32 = 1 << 31;
/// Set in the class of a path's state: rules match what is below that do not match the path itself.
pub const LEADS_ON: u32 = 1 << 31;
/// Operations that tables have room for.
pub const OPERATIONS: u32 = 32;
/// A look-up in a hash area looks at this many slots, and ends at a free one.
pub const PROBES: u32 = 8;
/// Factor of the hash function.
pub const HASH_FACTOR: u32 = 0x9E37_79B1;
/// Groups that a policy may name: bits of a subject.
pub const MAX_GROUPS: u32 = 64;
/// The inode number of the first user namespace, on every Linux.
pub const FIRST_USER_NAMESPACE: u32 = 0xEFFF_FFFD;
/// In place of an index of a user: the caller belongs to no login.
pub const NO_LOGIN_INDEX: u32 = u32::MAX - 1;
/// Globs of ancestors' executables that a policy may name: bits of a subject.
pub const MAX_ANCESTORS: usize = 32;
/// A caller with more ancestors than this is not classified where a policy asks for them.
pub const MAX_ANCESTRY: u32 = 128;
/// Conditions on facts that a policy may state.
pub const MAX_CONDITIONS: u32 = 32;
/// Marks that a policy may use: bits of a process.
pub const MAX_MARKS: usize = 64;
/// Rates that a policy may have: bits of a leaf.
pub const MAX_RATES: usize = 31;
/// A walk through a diagram visits at most this many nodes: one for each variable.
pub const MAX_WALK: u32 = VARIABLE_END;

/// Variables of decision diagrams. Below [`VARIABLE_GROUP`], a value is looked up; from there on, a
/// variable is one bit.
pub const VARIABLE_USER: u32 = 0;
/// The owner of the object, as an index of named users.
pub const VARIABLE_OWNER: u32 = 1;
/// Class of the caller's executable.
pub const VARIABLE_EXECUTABLE: u32 = 2;
/// Class of the caller's command name.
pub const VARIABLE_COMMAND: u32 = 3;
/// Class of the caller's cgroup.
pub const VARIABLE_CGROUP: u32 = 4;
/// Index of the caller's pid namespace among the named namespaces.
pub const VARIABLE_PID_NAMESPACE: u32 = 5;
/// Type of the object.
pub const VARIABLE_TYPE: u32 = 6;
/// The user of the caller's login, as an index of named users, or [`NO_LOGIN_INDEX`].
pub const VARIABLE_LOGIN: u32 = 7;
/// Index of the caller's user namespace among the named namespaces.
pub const VARIABLE_USER_NAMESPACE: u32 = 8;
/// The first of [`MAX_GROUPS`] bits: the caller is in a group.
pub const VARIABLE_GROUP: u32 = 9;
/// The first of [`MAX_CONDITIONS`] bits: a condition holds.
pub const VARIABLE_CONDITION: u32 = VARIABLE_GROUP + MAX_GROUPS;
/// The first of [`MAX_MARKS`] bits: the caller has a mark.
pub const VARIABLE_MARK: u32 = VARIABLE_CONDITION + MAX_CONDITIONS;
/// The first of [`MAX_RATES`] bits: a rate is exceeded.
pub const VARIABLE_RATE: u32 = VARIABLE_MARK + MAX_MARKS as u32;
/// One more than the last variable.
pub const VARIABLE_END: u32 = VARIABLE_RATE + MAX_RATES as u32;

/// Sections of tables as a kernel reads them begin at multiples of this many words.
pub const LINE_WORDS: u32 = 32;

/// The open flag of bit `argument` is set.
pub const CONDITION_FLAG: u32 = 1;
/// The owner of the object is the caller.
pub const CONDITION_OWNER_IS_CALLER: u32 = 2;
/// The size is at least `low + (high << 32)`.
pub const CONDITION_SIZE_AT_LEAST: u32 = 3;

/// One of the bits of `argument` is among the object's permissions.
pub const CONDITION_MODE: u32 = 4;
/// The minute of the day is at least `low` and below `high`, or where `high` is less, either of them.
pub const CONDITION_TIME_OF_DAY: u32 = 5;
/// The day of the week is `argument`, Monday being 0.
pub const CONDITION_DAY: u32 = 6;
/// It is at least `low + (high << 32)` seconds after 1970 began.
pub const CONDITION_SINCE: u32 = 7;
/// The caller has the capability of number `argument`.
pub const CONDITION_CAPABILITY: u32 = 8;
/// The executable of one of the caller's ancestors matches the glob of bit `argument`.
pub const CONDITION_ANCESTOR: u32 = 9;
/// Nobody but root could steer what the caller executes.
pub const CONDITION_SECURE: u32 = 10;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident, $c_name:literal { $($(#[$field_doc:meta])* $field:ident,)* })*) => {
        crate::record::declare! {
            $($(#[$doc])* #[derive(Default)] $name, $c_name { $($(#[$field_doc])* $field: u32,)* })*
        }

        $(impl Words for $name {
            fn write(&self, out: &mut Vec<u8>) {
                $(out.extend_from_slice(&self.$field.to_le_bytes());)*
            }

            fn read(bytes: &[u8]) -> Self {
                let mut words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
                Self { $($field: words.next().unwrap_or_default(),)* }
            }
        })*

        pub(crate) fn records() -> Vec<Described> {
            vec![$(<$name as Record>::describe(),)*]
        }
    };
}

/// A record of 32-bit words.
pub trait Words: Record {
    /// Appends it, least significant byte first.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads it from as many bytes as it is long.
    fn read(bytes: &[u8]) -> Self;
}

words! {
    /// A state of the automaton. State 0 is dead: nothing leads out of it.
    State, "hsci_state" {
        /// With the byte added: the cell to look at.
        base,
        /// The next state for bytes without a cell, except the slash.
        fallback,
        /// The next state after a slash.
        slash,
        /// What ends here: the path class and [`LEADS_ON`], or the value of a variable.
        class,
    }
    /// A transition.
    Cell, "hsci_cell" {
        /// The state it belongs to, or [`NONE`].
        owner,
        /// The next state.
        next,
    }
    /// Paths that all rules treat alike. Class 0: no rule and no target.
    PathClass, "hsci_path_class" {
        /// Index of the target, or [`NONE`].
        target,
        /// The first of its entries in `row_indices`, one for each class of operations.
        rows,
    }
    /// What is decided for a class of paths and a class of operations: diagrams, whose leaves are an index
    /// of `decisions`, a rule's index plus 1 or 0, an index of `option_sets`, an index of `effects`, and
    /// the numbers of rates as bits.
    Row, "hsci_row" {
        /// Passes or fails.
        decision,
        /// Is reported.
        audit,
        /// Options for the extension.
        options,
        /// Marks that are set or cleared.
        effects,
        /// Rates that count the call.
        counted,
    }
    /// Marks that a call sets or clears if it goes on. The first has none.
    Effect, "hsci_effect" {
        /// Marks 0 to 31 that are set.
        set_low,
        /// Marks 32 to 63 that are set.
        set_high,
        /// Marks 0 to 31 that are cleared.
        clear_low,
        /// Marks 32 to 63 that are cleared.
        clear_high,
        /// The first of its entries in `mark_rules`.
        first,
        /// Number of entries.
        count,
    }
    /// Which rule sets or clears a mark.
    MarkRule, "hsci_mark_rule" {
        /// Number of the mark.
        mark,
        /// Index of the rule.
        rule,
    }
    /// A rate.
    Rate, "hsci_rate" {
        /// Low half of the nanoseconds after which a token is there again.
        interval_low,
        /// High half.
        interval_high,
        /// Low half of the nanoseconds in which an empty bucket fills up.
        window_low,
        /// High half.
        window_high,
        /// 1 for one bucket for each user.
        per_user,
    }
    /// A node of a diagram. References lead to lower nodes only, and to greater variables only.
    Node, "hsci_node" {
        /// What is asked.
        variable,
        /// Where to go if the value has no edge, or the bit is 0.
        fallback,
        /// The first slot of its hash area, or where to go if the bit is 1.
        base,
        /// Mask of the hash; the area has `mask + PROBES` slots.
        mask,
    }
    /// A slot of a hash area.
    Edge, "hsci_edge" {
        /// The key, or [`NONE`].
        value,
        /// What it leads to.
        next,
    }
    /// Whether a call fails.
    Decision, "hsci_decision" {
        /// 0 if it passes.
        errno,
        /// Index of the rule that says so, or [`NONE`].
        rule,
    }
    /// Options for an extension.
    OptionSet, "hsci_option_set" {
        /// The first of its entries in `options`.
        first,
        /// Number of entries.
        count,
    }
    /// One option.
    OptionEntry, "hsci_option" {
        /// Index of the name in `texts`.
        key,
        /// Index of the value in `texts`.
        value,
        /// Index of the rule that sets it.
        rule,
    }
    /// A text, as a range of the bytes at the end.
    Text, "hsci_text" {
        /// First byte.
        first,
        /// Length in bytes.
        len,
    }
    /// A condition on facts.
    Condition, "hsci_condition" {
        /// One of the `CONDITION_` constants.
        kind,
        /// Meaning by kind.
        argument,
        /// Low half of a number.
        low,
        /// High half of a number.
        high,
    }
    /// What the tables begin at: start states, and hash areas with what they answer for a stranger.
    Roots, "hsci_roots" {
        /// Start state of paths.
        path,
        /// Start state of executables' paths.
        executable,
        /// Start state of command names.
        command,
        /// Start state of cgroups' paths.
        cgroup,
        /// Classes of operations.
        operation_classes,
        /// Area of user ids: indices of named users, else 0.
        users_base,
        /// Mask of that area.
        users_mask,
        /// Area of group ids: bits of named groups plus 1, else 0.
        groups_base,
        /// Mask of that area.
        groups_mask,
        /// Area of namespaces: indices of named ones, else 0.
        namespaces_base,
        /// Mask of that area.
        namespaces_mask,
        /// Number of rules of the policy.
        rules,
        /// 1 if rules use marks or rates, or ask how a program was executed.
        remembers,
        /// Number of entries in `ancestors`; 0 if no rule asks for ancestors.
        ancestors,
    }
    /// Behind the roots, in tables as a kernel reads them: the first word of each section.
    Sections, "hsci_sections" {
        /// The states, 4 words each.
        states,
        /// The cells, 2 words each.
        cells,
        /// The path classes, 2 words each.
        path_classes,
        /// The row indices, 1 word each.
        row_indices,
        /// The rows, 8 words each.
        rows,
        /// The nodes, 4 words each.
        nodes,
        /// The edges, 2 words each.
        edges,
        /// The decisions, 2 words each.
        decisions,
        /// The conditions, 4 words each.
        conditions,
        /// The operations, 1 word each.
        operations,
        /// The effects, 8 words each.
        effects,
        /// The rules that set or clear marks, 2 words each.
        mark_rules,
        /// The rates, 8 words each.
        rates,
        /// For each class of executables, the bits of the globs of ancestors that it matches: 1 word each.
        ancestors,
        /// Distinguishes policies, so that what was found with another one is found anew. Never 0.
        generation,
    }
    /// A caller, classified: kept with a task, and found anew after exec and a change of credentials.
    SubjectClass, "hsci_subject" {
        /// User id.
        uid,
        /// Index among the named users.
        user,
        /// Class of the executable.
        executable,
        /// Class of the command name.
        command,
        /// Class of the cgroup.
        cgroup,
        /// Index among the named namespaces.
        pid_namespace,
        /// Bits of the first 32 named groups.
        groups_low,
        /// Bits of the others.
        groups_high,
        /// Marks 0 to 31.
        marks_low,
        /// The others.
        marks_high,
        /// Capabilities 0 to 31.
        capabilities_low,
        /// The others.
        capabilities_high,
        /// Index of the login's user among the named users.
        login,
        /// Index among the named namespaces.
        user_namespace,
        /// Bits of the globs that executables of ancestors match.
        ancestors,
        /// 1 if nobody but root could steer what was executed.
        secure,
    }
}

/// The place of a key in a hash area.
#[must_use]
pub fn hash(value: u32, mask: u32) -> u32 {
    let product = value.wrapping_mul(HASH_FACTOR);
    (product ^ (product >> 15)) & mask
}

/// The room for tables of each object that is built, in words: a policy takes the first that fits.
pub const ROOMS: [usize; 4] = [1 << 14, 1 << 17, 1 << 20, 1 << 22];

pub(crate) const NUMBERS: &[(&str, u64)] = &[
    ("NONE", NONE as u64),
    ("LEAF", LEAF as u64),
    ("LEADS_ON", LEADS_ON as u64),
    ("OPERATIONS", OPERATIONS as u64),
    ("PROBES", PROBES as u64),
    ("HASH_FACTOR", HASH_FACTOR as u64),
    ("MAX_GROUPS", MAX_GROUPS as u64),
    ("FIRST_USER_NAMESPACE", FIRST_USER_NAMESPACE as u64),
    ("NO_LOGIN_INDEX", NO_LOGIN_INDEX as u64),
    ("MAX_ANCESTORS", MAX_ANCESTORS as u64),
    ("MAX_ANCESTRY", MAX_ANCESTRY as u64),
    ("MAX_CONDITIONS", MAX_CONDITIONS as u64),
    ("MAX_MARKS", MAX_MARKS as u64),
    ("MAX_RATES", MAX_RATES as u64),
    ("MAX_WALK", MAX_WALK as u64),
    ("VARIABLE_USER", VARIABLE_USER as u64),
    ("VARIABLE_OWNER", VARIABLE_OWNER as u64),
    ("VARIABLE_EXECUTABLE", VARIABLE_EXECUTABLE as u64),
    ("VARIABLE_COMMAND", VARIABLE_COMMAND as u64),
    ("VARIABLE_CGROUP", VARIABLE_CGROUP as u64),
    ("VARIABLE_PID_NAMESPACE", VARIABLE_PID_NAMESPACE as u64),
    ("VARIABLE_TYPE", VARIABLE_TYPE as u64),
    ("VARIABLE_LOGIN", VARIABLE_LOGIN as u64),
    ("VARIABLE_USER_NAMESPACE", VARIABLE_USER_NAMESPACE as u64),
    ("VARIABLE_GROUP", VARIABLE_GROUP as u64),
    ("VARIABLE_CONDITION", VARIABLE_CONDITION as u64),
    ("VARIABLE_MARK", VARIABLE_MARK as u64),
    ("VARIABLE_RATE", VARIABLE_RATE as u64),
    ("VARIABLE_END", VARIABLE_END as u64),
    ("LINE_WORDS", LINE_WORDS as u64),
    ("CONDITION_FLAG", CONDITION_FLAG as u64),
    ("CONDITION_OWNER_IS_CALLER", CONDITION_OWNER_IS_CALLER as u64),
    ("CONDITION_SIZE_AT_LEAST", CONDITION_SIZE_AT_LEAST as u64),
    ("CONDITION_MODE", CONDITION_MODE as u64),
    ("CONDITION_TIME_OF_DAY", CONDITION_TIME_OF_DAY as u64),
    ("CONDITION_DAY", CONDITION_DAY as u64),
    ("CONDITION_SINCE", CONDITION_SINCE as u64),
    ("CONDITION_CAPABILITY", CONDITION_CAPABILITY as u64),
    ("CONDITION_ANCESTOR", CONDITION_ANCESTOR as u64),
    ("CONDITION_SECURE", CONDITION_SECURE as u64),
];

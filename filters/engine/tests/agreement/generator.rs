//! Random numbers and usable random policies.

use hsci_language::{Policy, check, names::FixedNames, render_all};

use crate::policies;

/// Numbers that look random: SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

pub(crate) fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

pub(crate) fn names() -> FixedNames {
    let options = ["algorithm", "chunk"].map(|key| (key.to_owned(), Vec::new())).into();
    FixedNames { extensions: [("plug".to_owned(), options)].into(), ..FixedNames::default() }
}

/// A policy that can be used. Random rules may contradict each other or be impossible, which is an
/// error: such rules are left out.
pub(crate) fn policy(random: &mut Random) -> (String, Policy) {
    let mut lines = policies::statements(random);
    loop {
        let text = lines.join("\n");
        let checked = check(&text, &names());
        if let Some(policy) = checked.policy {
            if !policy.rules.is_empty() {
                return (text, policy);
            }
            lines = policies::statements(random);
            continue;
        }
        let before = lines.len();
        for diagnostic in checked.diagnostics.iter().filter(|one| one.is_error()).rev() {
            let code = diagnostic.code.name();
            let is_expected = matches!(
                code,
                "impossible-rule" | "contradicting-rules" | "command-too-long" | "unknown-mark"
            );
            assert!(is_expected, "{}", render_all(&checked.diagnostics, "random", &text, false));
            lines[diagnostic.span.line(&text) - 1].clear();
        }
        lines.retain(|line| !line.is_empty());
        assert!(lines.len() < before);
    }
}

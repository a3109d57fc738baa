//! Rules made of calls: by whom and through what, to which paths, and names that vary as `*`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hsci_language::{Operation, glob};

/// A call that is to pass.
pub(super) struct Done {
    pub(super) operation: Operation,
    pub(super) path: String,
    pub(super) user: u32,
    /// Nothing if it was not to be found out.
    pub(super) executable: Option<String>,
}

/// Paths as a tree of names, each a glob.
#[derive(Clone, Default)]
struct Node {
    /// What is done there, each with a path that it was done to.
    done: BTreeMap<Operation, String>,
    below: BTreeMap<String, Self>,
}

/// Operations on globs: what one who calls may do.
type Allowed = BTreeMap<Vec<Operation>, Vec<String>>;

/// The rules, those about any program first.
pub(super) struct Rules {
    base: String,
    /// Who is allowed it, by program and by what.
    rules: BTreeMap<(Option<String>, Allowed), BTreeSet<u32>>,
    /// Paths that show each.
    examples: BTreeSet<(Option<String>, u32, Operation, String)>,
}

impl Node {
    fn add(&mut self, names: &[&str], done: &Done) {
        match names.split_first() {
            None => {
                self.done.entry(done.operation).or_insert_with(|| done.path.clone());
            }
            Some((name, rest)) => {
                // A byte that is no text was reported as this sign.
                let name = glob::escape(name.as_bytes()).replace('\u{fffd}', "*");
                self.below.entry(name).or_default().add(rest, done);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        for (operation, path) in other.done {
            self.done.entry(operation).or_insert(path);
        }
        for (name, node) in other.below {
            self.below.entry(name).or_default().merge(node);
        }
    }

    /// Where there are more than so many names, any may stand.
    fn generalise(&mut self, most: usize) {
        if self.below.len() > most {
            let mut any = Self::default();
            std::mem::take(&mut self.below).into_values().for_each(|node| any.merge(node));
            self.below.insert("*".to_owned(), any);
        }
        self.below.values_mut().for_each(|node| node.generalise(most));
    }

    fn collect(&self, path: &str, allowed: &mut Allowed, examples: &mut Vec<(Operation, String)>) {
        if !self.done.is_empty() {
            let operations = self.done.keys().copied().collect();
            allowed.entry(operations).or_default().push(path.to_owned());
            examples.extend(self.done.iter().map(|(operation, path)| (*operation, path.clone())));
        }
        for (name, node) in &self.below {
            node.collect(&format!("{path}/{name}"), allowed, examples);
        }
    }
}

impl Rules {
    /// Calls below a directory.
    pub(super) fn new(base: &str, done: &[Done], most_names: usize) -> Self {
        let mut trees: BTreeMap<(Option<String>, u32), Node> = BTreeMap::new();
        for one in done {
            let rest = one.path.strip_prefix(base).unwrap_or_default();
            let names: Vec<&str> = rest.split('/').skip(1).collect();
            let who = (one.executable.clone(), one.user);
            trees.entry(who).or_default().add(&names, one);
        }
        let (mut rules, mut examples) = (BTreeMap::<_, BTreeSet<u32>>::new(), BTreeSet::new());
        for ((executable, user), mut tree) in trees {
            tree.generalise(most_names);
            let (mut allowed, mut shown) = (Allowed::new(), Vec::new());
            tree.collect(&glob::escape(base.as_bytes()), &mut allowed, &mut shown);
            rules.entry((executable.clone(), allowed)).or_default().insert(user);
            let shown = shown.into_iter();
            examples.extend(shown.map(|(one, path)| (executable.clone(), user, one, path)));
        }
        Self { base: base.to_owned(), rules, examples }
    }

    /// Rules and expectations as a policy has them. A program that is not there any more is no word of a policy.
    pub(super) fn text(
        &self,
        user: &dyn Fn(u32) -> String,
        is_there: &dyn Fn(&[u8]) -> bool,
    ) -> String {
        let mut text = String::new();
        let is_gone = |program: &Option<String>| {
            program.as_ref().is_some_and(|program| !is_there(program.as_bytes()))
        };
        for ((program, allowed), users) in &self.rules {
            let users: Vec<String> = users.iter().map(|uid| user(*uid)).collect();
            let who = match users.as_slice() {
                [one] => format!("user {one}"),
                _ => format!("user {{{}}}", users.join(", ")),
            };
            let mark = if is_gone(program) { "# " } else { "" };
            match program {
                None => text += "# By programs that are not known.\n",
                Some(program) if is_gone(&Some(program.clone())) => {
                    let _ = writeln!(text, "# {} is not there any more:", program.escape_debug());
                }
                Some(_) => {}
            }
            let exe = program.as_ref().map(|path| format!(" and exe {}", quoted(path)));
            for (operations, globs) in allowed {
                let operations: Vec<_> = operations.iter().map(|one| one.name()).collect();
                let globs: Vec<_> = globs.iter().map(|glob| format!("\"{glob}\"")).collect();
                let (operations, globs) =
                    (operations.join(", "), globs.join(&format!(",\n{mark}    ")));
                let exe = exe.as_deref().unwrap_or_default();
                let _ =
                    writeln!(text, "{mark}pass {operations} on {globs}\n{mark}    when {who}{exe}");
            }
        }
        text.push('\n');
        for (program, uid, operation, path) in &self.examples {
            if path.contains('\u{fffd}') || is_gone(program) {
                continue;
            }
            let exe = program.as_ref().map(|path| format!(", exe {}", quoted(path)));
            let (operation, path, exe) = (operation.name(), quoted(path), exe.unwrap_or_default());
            let _ = writeln!(text, "expect pass: {operation} {path} by user {}{exe}", user(*uid));
        }
        let nobody = self.examples.iter().map(|(_, uid, ..)| *uid).collect::<BTreeSet<_>>();
        let nobody = (0..=65533).rev().find(|uid| !nobody.contains(uid)).unwrap_or_default();
        let path = quoted(if self.base.is_empty() { "/" } else { &self.base });
        let _ = writeln!(text, "expect deny: create-file {path} by user {nobody}");
        text
    }
}

/// A path between quotes, where it stands for itself.
fn quoted(path: &str) -> String {
    format!("\"{}\"", glob::escape(path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(operation: Operation, path: &str, user: u32, program: Option<&str>) -> Done {
        Done { operation, path: path.to_owned(), user, executable: program.map(str::to_owned) }
    }

    #[test]
    fn what_is_learned_lets_pass_just_what_was_done() {
        let cat = Some("/bin/cat");
        let mut all = vec![
            done(Operation::Open, "/d/a \"b\"/x", 7, cat),
            done(Operation::ReadData, "/d/a \"b\"/x", 7, cat),
            done(Operation::Open, "/d/a \"b\"/x", 8, cat),
            done(Operation::ReadData, "/d/a \"b\"/x", 8, cat),
            done(Operation::ReadDir, "/d", 7, None),
            done(Operation::Unlink, "/d/x", 7, Some("/gone")),
        ];
        all.extend((0..5).map(|n| done(Operation::CreateFile, &format!("/d/many/{n}"), 9, cat)));
        let rules = Rules::new("/d", &all, 4);
        let text = rules.text(&|uid| uid.to_string(), &|path| path != b"/gone");
        let expected = "# By programs that are not known.\n\
            pass readdir on \"/d\"\n    when user 7\n\
            pass open, read-data on \"/d/a \\\"b\\\"/x\"\n    when user {7, 8} and exe \"/bin/cat\"\n\
            pass create-file on \"/d/many/*\"\n    when user 9 and exe \"/bin/cat\"\n\
            # /gone is not there any more:\n\
            # pass unlink on \"/d/x\"\n#     when user 7 and exe \"/gone\"\n";
        assert!(text.starts_with(expected), "{text}");
        let names = hsci_language::names::FixedNames {
            executables: vec!["/bin/cat".to_owned()],
            ..Default::default()
        };
        let text = format!("deny * \"/d/**\"\n{text}");
        let policy = hsci_language::check(&text, &names).policy.expect(&text);
        assert_eq!(policy.expectations.len(), 7);
        for expectation in &policy.expectations {
            let judgement = hsci_language::judge(&policy, &expectation.call);
            assert!(expectation.outcomes[0].1.holds(&judgement), "{expectation:?}");
        }
    }
}

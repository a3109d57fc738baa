//! `hsci policy explain`: what becomes of a call, and which rules say so.

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use std::time::{SystemTime, UNIX_EPOCH};

use hsci_host::failure::{Exit, Failure};
use hsci_language::interpreter::{holds, matches_path};
use hsci_language::names::Names;
use hsci_language::policy::{Policy, Rule};
use hsci_language::{
    CAPABILITIES, Call, Facts, FileType, HOST_PID_NAMESPACE, HOST_USER_NAMESPACE, Judgement,
    Memory, NO_LOGIN, OpenFlag, Operation, Subject, judge, time,
};
use serde::{Serialize, Serializer};

use super::Reviewed;
use super::loaded::Label;
use super::names::{MachineNames, groups_of};
use super::source::{Place, Source};
use crate::cli::PolicyExplain;
use crate::{Result, extension_program, ui};

/// The line of a rule: a number in JSON, and for people with its file where there are several.
struct Line {
    number: usize,
    shown: String,
}

impl Line {
    fn new(place: &Place<'_>) -> Self {
        Self { number: place.line, shown: place.to_string() }
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.number.serialize(serializer)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

/// What becomes of the call, as `--json` prints it. Lines are those of the policy.
#[derive(Serialize)]
struct Explanation {
    /// Name of the error, if the call fails.
    denied: Option<String>,
    /// The line that decides whether it fails.
    decided_by: Option<Line>,
    /// The line for which it is reported.
    audited_by: Option<Line>,
    target: Option<String>,
    extension: Option<String>,
    options: Vec<Setting>,
    marks: Vec<Marking>,
    rules: Vec<Consideration>,
}

#[derive(Serialize)]
struct Setting {
    key: String,
    value: String,
    line: Line,
}

/// A mark that the caller gets or loses.
#[derive(Serialize)]
struct Marking {
    name: String,
    is_set: bool,
    line: Line,
}

/// One rule, and what came of it.
#[derive(Serialize)]
struct Consideration {
    #[serde(serialize_with = "ui::lossy")]
    file: PathBuf,
    line: Line,
    /// True if it decides something in the result.
    decides: bool,
    /// Why it does, or does not.
    reason: &'static str,
    text: String,
    label: Label,
}

/// Explains a call.
pub(super) fn run(args: &PolicyExplain) -> Result<()> {
    let reviewed = Reviewed::new(&args.file, &args.parameters, None)?;
    let Some((policy, _)) = &reviewed.usable else { return Err(reviewed.failure(&args.file)) };
    let call = call(policy, args)?;
    let explanation = explain(policy, &reviewed.source, &call);
    if args.json { ui::print_json(&explanation) } else { ui::print(&explanation.text()) }
}

fn usage(text: String) -> Failure {
    Failure::new(Exit::Usage, text)
}

fn memory(policy: &Policy, args: &PolicyExplain) -> Result<Memory> {
    let over = if args.rate_exceeded { u32::MAX } else { 0 };
    let mut memory = Memory { marks: 0, over };
    for name in &args.marks {
        let known = policy.marks.iter().map(String::as_str);
        let number = policy.marks.iter().position(|mark| mark == name);
        memory.marks |= 1 << number.ok_or_else(|| unknown("mark", name, known))?;
    }
    Ok(memory)
}

fn call(policy: &Policy, args: &PolicyExplain) -> Result<Call> {
    let names = MachineNames::new();
    let uid = user(&names, &args.user)?;
    let gids: Vec<u32> = if args.groups.is_empty() {
        groups_of(uid)
    } else {
        args.groups.iter().map(|name| group(&names, name)).collect::<Result<_>>()?
    };
    let absolute = |path: &Option<std::path::PathBuf>| match path {
        Some(path) => plain_path(path),
        None => Ok(Vec::new()),
    };
    let subject = Subject {
        uid,
        gids,
        executable: absolute(&args.executable)?,
        command: args.command.clone().unwrap_or_default().into_bytes(),
        cgroup: absolute(&args.cgroup)?,
        pid_namespace: args.pid_namespace.unwrap_or(HOST_PID_NAMESPACE),
        user_namespace: args.user_namespace.unwrap_or(HOST_USER_NAMESPACE),
        secure: args.secure,
        capabilities: capabilities(&args.capabilities)?,
        login: match args.login.as_deref() {
            None | Some("none") => NO_LOGIN,
            Some(login) => user(&names, login)?,
        },
        ancestors: args.ancestors.iter().map(|path| plain_path(path)).collect::<Result<_>>()?,
    };
    let mut facts = Facts::of_owner(match &args.owner {
        Some(owner) => user(&names, owner)?,
        None => uid,
    });
    let types = FileType::ALL.iter().map(|one| one.name());
    facts.file_type =
        FileType::parse(&args.file_type).ok_or_else(|| unknown("type", &args.file_type, types))?;
    facts.size = args.size;
    for name in &args.modes {
        let modes = time::MODES.iter();
        let known = modes.clone().map(|(name, _)| *name);
        let found = modes.clone().find(|(known, _)| known == name);
        facts.mode |= found.ok_or_else(|| unknown("permission", name, known))?.1;
    }
    facts.time = match &args.at {
        None => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        Some(at) => {
            let form = "written 2026-12-31 or 2026-12-31T18:00";
            let found =
                time::moment(at).ok_or_else(|| usage(format!("time `{at}`: none; {form}")))?;
            found.0
        }
    };
    for name in &args.flags {
        let flags = OpenFlag::ALL.iter().map(|flag| flag.name());
        let flag = OpenFlag::parse(name).ok_or_else(|| unknown("flag", name, flags))?;
        facts.flags |= 1 << flag.number();
    }
    let operations = Operation::ALL.iter().map(|one| one.name());
    let operation = Operation::parse(&args.operation)
        .ok_or_else(|| unknown("operation", &args.operation, operations))?;
    let memory = memory(policy, args)?;
    Ok(Call { operation, path: plain_path(&args.path)?, subject, facts, memory })
}

fn capabilities(names: &[String]) -> Result<u64> {
    let number = |name: &String| {
        let known = CAPABILITIES.iter();
        let found = known.clone().position(|known| known == name);
        found.ok_or_else(|| unknown("capability", name, known.copied()))
    };
    names.iter().try_fold(0, |all, name| Ok(all | 1 << number(name)?))
}

fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Failure {
    let way_out = match extension_program::similar(word, known.clone()) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    usage(format!("{what} `{word}`: there is none; {way_out}"))
}

/// The id of a user, by name or number.
pub(crate) fn user_id(text: &str) -> Result<u32> {
    user(&MachineNames::new(), text)
}

fn user(names: &MachineNames, text: &str) -> Result<u32> {
    let found = text.parse().ok().or_else(|| names.user(text));
    found.ok_or_else(|| usage(format!("user `{text}`: there is none; name it by its number")))
}

fn group(names: &MachineNames, text: &str) -> Result<u32> {
    let found = text.parse().ok().or_else(|| names.group(text));
    found.ok_or_else(|| usage(format!("group `{text}`: there is none; name it by its number")))
}

/// A path as evaluators see it: absolute, without `.` and `..` and a slash at the end.
fn plain_path(path: &Path) -> Result<Vec<u8>> {
    let fail = |why: &str| usage(format!("{}: {why}", path.display()));
    let mut plain = Vec::new();
    if !path.is_absolute() {
        return Err(fail("not absolute; begin it with `/`"));
    }
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                plain.push(b'/');
                plain.extend_from_slice(name.as_bytes());
            }
            Component::ParentDir => return Err(fail("has `..`; name the path that it leads to")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(plain)
}

fn explain(policy: &Policy, source: &Source, call: &Call) -> Explanation {
    let judgement = judge(policy, call);
    let line = |rule: usize| Line::new(&source.place(policy.rules[rule].span));
    let options = judgement.options.iter().map(|(key, (value, rule))| Setting {
        key: key.clone(),
        value: value.clone(),
        line: line(*rule),
    });
    // A call that is denied marks nobody.
    let marks = judgement.marks.iter().filter(|_| judgement.denied.is_none());
    let marks = marks.map(|(mark, (is_set, rule))| Marking {
        name: policy.marks[*mark].clone(),
        is_set: *is_set,
        line: line(*rule),
    });
    let rules = policy.rules.iter().enumerate().map(|(index, rule)| {
        let (decides, reason) = consider(policy, rule, index, call, &judgement);
        let statement = source.statement(rule.span);
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        let label = Label::new(&rule.label);
        let place = source.place(rule.span);
        let file = place.file.to_owned();
        Consideration { file, line: Line::new(&place), decides, reason, text: statement, label }
    });
    let target = judgement.target.map(|target| &policy.targets[target]);
    Explanation {
        denied: judgement.denied.map(|errno| errno.name().to_owned()),
        decided_by: judgement.decider.map(line),
        audited_by: judgement.auditor.map(line),
        target: target.map(|target| target.name.clone()),
        extension: target.map(|target| target.extensions.join(",")),
        options: options.collect(),
        marks: marks.collect(),
        rules: rules.collect(),
    }
}

/// Whether a rule decides something, and why.
fn consider(
    policy: &Policy,
    rule: &Rule,
    index: usize,
    call: &Call,
    judgement: &Judgement,
) -> (bool, &'static str) {
    if !rule.operations.contains(call.operation) {
        return (false, "it is about other operations");
    }
    if !matches_path(policy, rule, &call.path) {
        return (false, "it is about other paths");
    }
    if !holds(&rule.predicate, call) {
        return (false, "its conditions do not hold");
    }
    let marks = judgement.marks.values().any(|(_, by)| *by == index);
    let sets = judgement.options.values().any(|(_, by)| *by == index);
    if judgement.decider == Some(index) {
        (true, "it is the last that passes or denies")
    } else if judgement.auditor == Some(index) {
        (true, "it is the last that audits")
    } else if sets {
        (true, "it is the last that sets this option")
    } else if marks && judgement.denied.is_none() {
        (true, "it is the last that says something of this mark")
    } else if marks {
        (false, "the call is denied")
    } else {
        (false, "a later rule wins")
    }
}

impl Explanation {
    fn text(&self) -> String {
        let mut text = match &self.denied {
            Some(errno) => format!("denied with {errno}"),
            None => "passes".to_owned(),
        };
        match &self.decided_by {
            Some(line) => text += &format!(", by {line}\n"),
            None => text += ": no rule says anything else\n",
        }
        if let (Some(target), Some(extension)) = (&self.target, &self.extension) {
            let unless = if self.denied.is_some() { " (not reached: it is denied)" } else { "" };
            let _ = writeln!(text, "in target {target}, served by {extension}{unless}");
        }
        for Setting { key, value, line } in &self.options {
            let _ = writeln!(text, "with {key} = {value}, by {line}");
        }
        for Marking { name, is_set, line } in &self.marks {
            let verb = if *is_set { "gets" } else { "loses" };
            let _ = writeln!(text, "the caller {verb} the mark {name}, by {line}");
        }
        if let Some(line) = &self.audited_by {
            let _ = writeln!(text, "reported, by {line}");
        }
        for (heading, decides) in [("decides", true), ("passed over", false)] {
            for rule in self.rules.iter().filter(|rule| rule.decides == decides) {
                let Consideration { line, reason, text: statement, .. } = rule;
                let _ = writeln!(text, "\n{line}: {statement}\n  {heading}: {reason}");
            }
        }
        text
    }
}

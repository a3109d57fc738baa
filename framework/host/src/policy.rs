//! The policy of this machine, for calls that reach a mount.
//!
//! Extensions are told what rules set. Where no guard judges all calls in the kernel, the host refuses
//! and reports those that it is handed. Each call is judged by one policy from start to end.

mod caller;
mod directories;
pub mod file;
mod layer;
mod line;
mod report;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hsci_abi::memory::Memory;
use hsci_abi::tables::{NONE, SubjectClass};
use hsci_engine::{Spoken, Tables, Uses, Verdict};
use hsci_extension::{Call, CallOptions, Entry, Errno, Error, FileSystem, Ino, Result};
use hsci_language::{DenyErrno, Facts, Operation, Operations};
use hsci_protocol::policy::{self as protocol, Hits, PolicyStatus, ReportKind};
use parking_lot::RwLock;
use rustix::time::{ClockId, clock_gettime};

use self::caller::{Caller, KernelCallers};
use self::directories::{Directories, Epoch};
use self::file::{Handed, Head};
use self::report::Reports;
use crate::sys::shared::Shared;

pub(crate) use self::layer::Judged;
pub(crate) use self::line::{Change, Taken, follow};

/// Rights that are acquired by opening something.
pub const OPENING: &[Operation] = &[
    Operation::Open,
    Operation::Exec,
    Operation::ReadData,
    Operation::ReadDir,
    Operation::WriteData,
];

/// Operations that the kernel mostly carries out without asking a host.
pub const UNSEEN: &[Operation] = &[Operation::GetAttr, Operation::ReadLink, Operation::Lock];

/// The state that paths on a mount begin with.
fn root_state(tables: &Tables, dir: &Path) -> u32 {
    tables.at(dir.as_os_str().as_encoded_bytes())
}

/// Which operations rules speak of on a mount at a directory.
#[must_use]
pub fn spoken(tables: &Tables, dir: &Path) -> Spoken {
    tables.spoken_below(root_state(tables, dir))
}

/// True if a host has to see what is opened on a mount at a directory.
pub(crate) fn needs_opens(policy: &Handed, dir: &Path) -> bool {
    !policy.head.guarded && spoken(&policy.tables, dir).judged.meets(Operations::of(OPENING))
}

/// A policy in force, prepared for one mount.
pub(crate) struct InForce {
    head: Head,
    tables: Tables,
    uses: Uses,
    spoken: Spoken,
    /// The state of the mount's root.
    root: u32,
    directories: Directories,
    /// Options by the number of their set.
    options: Vec<Option<CallOptions>>,
    callers: Result<KernelCallers, String>,
    /// How often each rule decided.
    hits: Vec<AtomicU64>,
    counts: Counts,
}

impl InForce {
    fn new(policy: Handed, dir: &Path, callers: Result<KernelCallers, String>) -> Self {
        let Handed { head, tables } = policy;
        let root = root_state(&tables, dir);
        let options = (0..tables.option_sets()).map(|set| {
            let options = tables.option_set(set);
            let options = options.map(|(key, value, _)| (key.to_owned(), value.to_owned()));
            let options: Arc<[_]> = options.collect();
            (!options.is_empty()).then_some(options)
        });
        Self {
            head,
            uses: tables.uses(),
            spoken: tables.spoken_below(root),
            root,
            directories: Directories::default(),
            options: options.collect(),
            callers,
            hits: (0..tables.rules()).map(|_| AtomicU64::new(0)).collect(),
            counts: Counts::default(),
            tables,
        }
    }

    /// The facts of a call that is made now.
    fn facts_now(&self, facts: Facts) -> Facts {
        if !self.uses.time {
            return facts;
        }
        let now = clock_gettime(ClockId::Realtime);
        Facts { time: u64::try_from(now.tv_sec).unwrap_or_default(), ..facts }
    }

    fn hit(&self, rule: u32) {
        if let Some(hits) = self.hits.get(rule as usize) {
            hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Who calls. Nothing if something that bears on what becomes of the call is not known.
    fn caller(&self, call: &Call, operation: Operation, class: u32) -> Option<Caller> {
        let handed_over = self.callers.as_ref().ok().and_then(|callers| callers.find(call));
        let mut caller = handed_over.or_else(|| caller::ask(&self.tables, self.uses, call))?;
        if !self.uses.memory || !self.tables.asks_memory(operation, class) {
            return Some(caller);
        }
        let memory = self.memory()?;
        let process = caller.process.or_else(|| caller::process(memory, call))?;
        caller.process = Some(process);
        caller.subject.secure = memory.is_secure(process).into();
        Some(caller)
    }

    /// What is remembered of processes.
    fn memory(&self) -> Option<Memory<'_, Shared>> {
        self.callers.as_ref().ok().and_then(KernelCallers::remembered)
    }

    /// Decides a call; `decides` is false for one that was counted before.
    fn verdict(
        &self,
        caller: &mut Caller,
        asked: (Operation, u32, &Facts),
        decides: bool,
    ) -> Verdict {
        let (operation, class, facts) = asked;
        let subject = &mut caller.subject;
        let mut over = 0;
        if let (true, Some(memory), Some(process)) =
            (self.uses.memory, self.memory(), caller.process)
        {
            if decides {
                let now = clock_gettime(ClockId::Boottime);
                let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
                over = self.tables.count(memory, process, now, (operation, class, subject, facts));
            } else {
                let marks = memory.marks(process);
                (subject.marks_low, subject.marks_high) = (marks as u32, (marks >> 32) as u32);
            }
        }
        self.tables.verdict(operation, class, (subject, over), facts)
    }

    /// The error of a write by a right that the caller would not get any more, for it has a mark since it
    /// opened the file.
    fn denied_since(
        &self,
        caller: &Caller,
        (operation, class, facts): (Operation, u32, &Facts),
        verdict: &Verdict,
    ) -> Option<DenyErrno> {
        if operation != Operation::WriteData || verdict.decision.errno == 0 || !self.uses.memory {
            return None;
        }
        let unmarked = SubjectClass { marks_low: 0, marks_high: 0, ..caller.subject };
        let before = self.tables.verdict(operation, class, (&unmarked, 0), facts);
        let errno = u16::try_from(verdict.decision.errno).ok().and_then(DenyErrno::from_number);
        errno.filter(|_| before.decision.errno == 0)
    }

    /// A call goes on: its marks are set and cleared. A program that is opened to be executed may never run, and
    /// no host sees whether it does: it takes no mark.
    fn remember(&self, caller: &Caller, operation: Operation, verdict: &Verdict) {
        let (Some(memory), Some(process)) = (self.memory(), caller.process) else { return };
        self.tables.remember(memory, process, verdict, operation != Operation::Exec);
        self.tables.mark_rules(verdict.effect).for_each(|(_, _, rule)| self.hit(rule));
    }
}

/// What became of calls so far, on one mount under one policy.
#[derive(Debug, Default)]
struct Counts {
    judged: AtomicU64,
    denied: AtomicU64,
    audited: AtomicU64,
    undecidable: AtomicU64,
    /// Callers whom the kernel had found out.
    handed_over: AtomicU64,
}

/// What judges the calls on a mount.
pub(crate) struct Policy {
    in_force: RwLock<Option<Arc<InForce>>>,
    /// Opens are handed to this host, so that it judges rights when they are acquired.
    sees_opens: bool,
    /// The same for directories.
    sees_opendirs: bool,
    reports: Reports,
    epoch: Epoch,
}

/// What a call is about.
struct Object<'a> {
    tree: &'a dyn FileSystem,
    /// Itself, or the directory that has its name.
    at: (Ino, Option<&'a OsStr>),
    /// The automaton's state after its path.
    state: u32,
    facts: Facts,
    /// Its inode; 0 if it is about to be made.
    inode: u64,
}

impl Policy {
    pub(crate) fn new(sees_opens: bool, sees_opendirs: bool) -> Self {
        let reports = Reports::default();
        let epoch = Epoch::default();
        Self { in_force: RwLock::default(), sees_opens, sees_opendirs, reports, epoch }
    }

    fn replace(&self, policy: Option<InForce>) {
        *self.in_force.write() = policy.map(Arc::new);
    }

    /// An object was met at a name.
    fn meet(&self, at: (Ino, &OsStr), entry: &Entry) {
        if let Some(policy) = self.in_force.read().as_ref() {
            policy.directories.meet(&self.epoch, at, (entry.ino, entry.attr.kind));
        }
    }

    /// The policy, if it speaks of any of the operations on this mount.
    fn about(&self, operations: Operations) -> Option<Arc<InForce>> {
        let in_force = self.in_force.read();
        let policy = in_force.as_ref()?;
        let spoken = &policy.spoken;
        // Writes by rights from before are judged here, whoever judged the opens.
        let judges = !policy.head.guarded || policy.uses.memory;
        let asked = if judges { spoken.judged.union(spoken.set) } else { spoken.set };
        asked.meets(operations).then(|| Arc::clone(policy))
    }

    /// True if what is read and written matters to no rule on this mount. Growth is judged here, whoever judges the
    /// rest.
    fn ignores_content(&self) -> bool {
        let content = Operations::of(&[Operation::ReadData, Operation::WriteData]);
        self.about(content).is_none() && self.judging(Operation::Grow).is_none()
    }

    /// The policy, if it may deny or report an operation on this mount.
    fn judging(&self, operation: Operation) -> Option<Arc<InForce>> {
        let in_force = self.in_force.read();
        let policy = in_force.as_ref()?;
        policy.spoken.judged.contains(operation).then(|| Arc::clone(policy))
    }

    /// Judges one operation; returns the options that come with it. Without `decides`, a right was
    /// judged when it was acquired.
    fn judge(
        &self,
        policy: &InForce,
        call: &Call,
        (operation, decides): (Operation, bool),
        object: &Object<'_>,
    ) -> Result<Option<CallOptions>> {
        // The guard does not see how long a file becomes.
        let decides = decides && (!policy.head.guarded || operation == Operation::Grow);
        let class = policy.tables.class(object.state);
        if class == 0 {
            return Ok(None);
        }
        let report = |kind, rule, errno| {
            let path = directories::path(object.tree, object.at);
            let place = (path.as_slice(), object.inode);
            self.reports.add(report::new(kind, call, operation, place, rule, errno));
        };
        let Some(mut caller) = policy.caller(call, operation, class) else {
            policy.counts.undecidable.fetch_add(1, Ordering::Relaxed);
            if !decides {
                return Ok(None);
            }
            report(ReportKind::Undecidable, None, Some(DenyErrno::EACCES));
            return refuse(policy, Errno::ACCESS).map(|()| None);
        };
        policy.counts.handed_over.fetch_add(caller.handed_over.into(), Ordering::Relaxed);
        let facts = policy.facts_now(object.facts);
        let asked = (operation, class, &facts);
        let verdict = policy.verdict(&mut caller, asked, decides);
        let options = policy.options[verdict.options as usize].clone();
        let passes = |options| {
            policy.tables.option_set(verdict.options).for_each(|(_, _, rule)| policy.hit(rule));
            Ok(options)
        };
        if !decides {
            let denied = policy.denied_since(&caller, asked, &verdict);
            let Some(errno) = denied else { return passes(options) };
            policy.counts.denied.fetch_add(1, Ordering::Relaxed);
            let kind =
                if policy.head.permissive { ReportKind::WouldDeny } else { ReportKind::Denied };
            report(kind, Some(verdict.decision.rule), Some(errno));
            let errno = Errno::from_raw_os_error(errno.number().into());
            return refuse(policy, errno).map(|()| options);
        }
        policy.counts.judged.fetch_add(1, Ordering::Relaxed);
        let errno = u16::try_from(verdict.decision.errno).ok().and_then(DenyErrno::from_number);
        if let Some(rule) = verdict.audit {
            policy.hit(rule);
            policy.counts.audited.fetch_add(1, Ordering::Relaxed);
            report(ReportKind::Audited, Some(rule), errno);
        }
        if verdict.decision.rule != NONE {
            policy.hit(verdict.decision.rule);
        }
        if errno.is_none() || policy.head.permissive {
            policy.remember(&caller, operation, &verdict);
        }
        let Some(errno) = errno else { return passes(options) };
        policy.counts.denied.fetch_add(1, Ordering::Relaxed);
        let kind = if policy.head.permissive { ReportKind::WouldDeny } else { ReportKind::Denied };
        report(kind, Some(verdict.decision.rule), Some(errno));
        let errno = Errno::from_raw_os_error(errno.number().into());
        refuse(policy, errno).map(|()| options)
    }

    /// For `hsci status` and `hsci policy list`; nothing without a policy.
    pub(crate) fn status(&self) -> Option<PolicyStatus> {
        let policy = self.in_force.read().clone()?;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let unseen = !self.sees_opens
            && !policy.head.guarded
            && policy.spoken.judged.meets(Operations::of(OPENING));
        Some(PolicyStatus {
            file: policy.head.file.clone(),
            number: policy.head.number,
            guarded: policy.head.guarded,
            permissive: policy.head.permissive,
            concerned: policy.spoken != Spoken::default(),
            callers: if policy.callers.is_ok() { "kernel" } else { "proc" }.to_owned(),
            callers_reason: policy.callers.as_ref().err().cloned(),
            opens_unseen: unseen,
            handed_over: count(&policy.counts.handed_over),
            judged: count(&policy.counts.judged),
            denied: count(&policy.counts.denied),
            audited: count(&policy.counts.audited),
            undecidable: count(&policy.counts.undecidable),
        })
    }

    /// Reports from a number on.
    pub(crate) fn reports(&self, from: u64) -> protocol::Reports {
        self.reports.from(from)
    }

    /// How often each rule decided, from an index on: a list as long as an answer may be, empty
    /// after the last rule.
    pub(crate) fn hits(&self, from: usize) -> Hits {
        let in_force = self.in_force.read().clone();
        let all = in_force.as_ref().map(|policy| policy.hits.as_slice()).unwrap_or_default();
        let rest = all.get(from..).unwrap_or_default().iter().take(HITS_AT_ONCE);
        rest.map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

/// Counts of at most 20 digits in an answer of at most 64 KiB.
const HITS_AT_ONCE: usize = 3000;

/// The error, unless the policy only reports.
fn refuse(policy: &InForce, errno: Errno) -> Result<()> {
    if policy.head.permissive { Ok(()) } else { Err(Error::Lower(errno)) }
}

//! What the guard and the mounts have made of the policy in force.

use hsci_host::mounts::Mounted;
use hsci_kernel::guard::{Counts, Guard};
use hsci_protocol::policy::PolicyStatus;
use hsci_protocol::status::Status;
use rustix::process::geteuid;

use super::page::{Kind, Page};
use super::workers;
use crate::Result;
use crate::commands::policy::{self, Loaded};

/// Adds the numbers of the policy.
pub(super) fn add(page: &mut Page, mounts: &[Mounted], all: &[Status]) -> Result<()> {
    let loaded = Loaded::read()?;
    let help = "Whether a policy is loaded.";
    let mut family = page.family("hsci_policy_loaded", Kind::Gauge, help);
    family.add(&[], u8::from(loaded.is_some()));
    let Some(loaded) = loaded else { return Ok(()) };
    // Only root may ask the guard.
    let guard = if geteuid().is_root() {
        Guard::open().map_err(|error| policy::failure(&error))?
    } else {
        None
    };
    add_verdicts(page, guard.as_ref().map(Guard::counts).as_ref(), all);
    let help = "How often a rule decided or reported.";
    let mut family = page.family("hsci_rule_hits_total", Kind::Counter, help);
    for (rule, hits) in policy::hits(&loaded, guard.as_ref(), mounts)? {
        let line = rule.line.to_string();
        let file = rule.file.to_string_lossy();
        let name = rule.label.name.as_deref().unwrap_or_default();
        family.add(&[("file", &file), ("line", &line), ("rule", name)], hits);
    }
    Ok(())
}

/// Verdicts by who judged: the guard, or the host of a mount.
fn add_verdicts(page: &mut Page, guard: Option<&Counts>, all: &[Status]) {
    type Of = (fn(&Counts) -> Option<u64>, fn(&PolicyStatus) -> Option<u64>);
    let families: [(&str, &str, Of); 6] = [
        ("hsci_judged_total", "Calls judged.", (|one| Some(one.judged), |one| Some(one.judged))),
        ("hsci_denied_total", "Calls denied.", (|one| Some(one.denied), |one| Some(one.denied))),
        ("hsci_audited_total", "Calls reported by rules.", (|_| None, |one| Some(one.audited))),
        (
            "hsci_undecidable_total",
            "Calls of which something could not be found out.",
            (|one| Some(one.undecidable), |one| Some(one.undecidable)),
        ),
        (
            "hsci_fenced_total",
            "Calls refused to protect stores.",
            (|one| Some(one.fenced), |_| None),
        ),
        ("hsci_lost_reports_total", "Reports that were lost.", (|one| Some(one.lost), |_| None)),
    ];
    for (name, help, (of_guard, of_host)) in families {
        let mut family = page.family(name, Kind::Counter, help);
        if let Some(count) = guard.and_then(of_guard) {
            family.add(&[("by", "guard"), ("dir", "")], count);
        }
        for (dir, worker) in workers(all) {
            if let Some(count) = worker.policy.as_ref().and_then(of_host) {
                family.add(&[("by", "host"), ("dir", &dir)], count);
            }
        }
    }
}

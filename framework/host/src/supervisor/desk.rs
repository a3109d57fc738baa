//! What the supervisor of a mount answers, and to whom.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hsci_extension::protection;
use hsci_protocol::control::{Caller, Command, Question, Reply, WorkerAnswer};
use hsci_protocol::failure::{Exit, Failure};
use hsci_protocol::mount::{Fenced, MountRequest};
use hsci_protocol::status::{Status, SupervisorStatus};
use rustix::process::geteuid;

use super::fence::Fence;
use super::listener::Respond;
use super::orders::UPGRADE_LIMIT;
use super::policy::PolicyLine;
use super::serving::Serving;
use super::tenure::Tenure;
use super::{internal, is_read_only, kernel, notify};
use crate::control::force_end;
use crate::mounts::Device;

/// Time for the worker's part of a status.
const STATUS: Duration = Duration::from_secs(2);
/// Time for a worker to take another policy.
pub(super) const RENEWAL: Duration = Duration::from_secs(8);
/// Time for bringing everything into the store before the end, and where the end is forced.
const COMMIT: Duration = Duration::from_secs(20);
const COMMIT_BY_FORCE: Duration = Duration::from_secs(2);
/// More files are not named.
const MOST_NAMED: usize = 5;
/// Who uses a mount that is taken off by force has so long to end.
const GRACE: Duration = Duration::from_secs(2);
/// The worker then has so long to write everything.
const FLUSH: Duration = Duration::from_secs(5);

/// Answers requests about one mount.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) request: MountRequest,
    pub(super) device: Device,
    pub(super) since: u64,
    /// The host on another machine that had the store before, and has not unmounted it.
    pub(super) last_served: Option<String>,
    pub(super) log: Option<PathBuf>,
    pub(super) serving: Serving,
    pub(super) tenure: Option<Tenure>,
    pub(super) fence: Arc<Fence>,
    pub(super) policy: PolicyLine,
}

impl Respond for Desk {
    fn answer(&self, caller: Caller, command: Command) -> Reply {
        let is_owner =
            caller.uid == 0 || caller.uid == geteuid().as_raw() || !protection::stands("callers");
        match command {
            Command::Status if !is_owner => Reply::Status(Box::new(public(self.status()))),
            Command::Status => Reply::Status(Box::new(self.status())),
            _ if !is_owner => {
                let text = "only root or the user who mounted it may do that";
                Failure::new(Exit::Impossible, text).into()
            }
            Command::Upgrade => self.upgrade(),
            Command::RenewPolicy => self.renew_policy(),
            Command::Unmount { force } => match self.unmount(force) {
                Ok(lost) if lost.is_empty() => Reply::Done,
                Ok(lost) => Reply::Lost(lost),
                Err(failure) => failure.into(),
            },
            Command::Hits { from } => self.ask(&Question::Hits(from)),
            Command::Reports { from } => self.ask(&Question::Reports(from)),
        }
    }
}

/// What everybody may know.
fn public(mut status: Status) -> Status {
    status.worker = None;
    if let Some(supervisor) = &mut status.supervisor {
        supervisor.log = None;
        supervisor.policy_number = None;
    }
    status
}

impl Desk {
    fn status(&self) -> Status {
        let (worker, silent) = match self.serving.status(STATUS) {
            Ok(worker) => (Some(worker), None),
            Err(why) => {
                let waits = self.tenure.as_ref().and_then(Tenure::why_not);
                (None, Some(waits.unwrap_or(why)))
            }
        };
        Status { silent, worker, ..self.own_status() }
    }

    /// What is known without the worker.
    fn own_status(&self) -> Status {
        let fenced = self.fence.state();
        let supervisor = SupervisorStatus {
            extensions: self.request.extensions.clone(),
            read_only: is_read_only(&self.request),
            supervised: true,
            supervisor_pid: std::process::id(),
            workers: self.serving.workers(),
            since: self.since,
            last_served: self.last_served.clone(),
            log: self.log.clone(),
            fenced: fenced.is_ok(),
            fenced_reason: self.fence_reason(&fenced),
            policy_number: self.policy.number(),
        };
        Status {
            dir: self.request.dir.clone(),
            lower: self.request.lower.clone(),
            supervisor: Some(supervisor),
            ..Status::default()
        }
    }

    /// What keeps users from the store. A process whose working directory was in it before the mount
    /// is kept from it by a fence only.
    fn fence_reason(&self, fenced: &Fenced) -> String {
        let without = if self.request.dir == self.request.lower {
            "mounted over itself, so no name leads to the store"
        } else {
            "the lower directory is open to whom its permissions admit"
        };
        match fenced {
            Ok(()) => "the guard keeps everybody but the host from the store".to_owned(),
            Err(why) if why.is_empty() => without.to_owned(),
            Err(why) => format!("{without}; {why}"),
        }
    }

    fn ask(&self, question: &Question) -> Reply {
        match self.serving.ask(question, STATUS) {
            Ok(WorkerAnswer::Hits(hits)) => Reply::Hits(hits),
            Ok(WorkerAnswer::Reports(reports)) => Reply::Reports(reports),
            Ok(_) | Err(_) => Failure::new(Exit::Internal, "its worker does not answer").into(),
        }
    }

    fn upgrade(&self) -> Reply {
        if self.serving.upgrade(UPGRADE_LIMIT) {
            return Reply::Status(Box::new(self.status()));
        }
        Failure::new(Exit::Internal, "no other worker has answered; see its log").into()
    }

    /// Answered when the policy is in force.
    fn renew_policy(&self) -> Reply {
        // The fence first: the answer is for both.
        self.fence.renew();
        match self.policy.renew(RENEWAL) {
            Ok(()) => Reply::Status(Box::new(self.own_status())),
            Err(why) => {
                let text = format!("the last policy goes on: {why}");
                Failure::new(Exit::Internal, text).into()
            }
        }
    }

    /// Ends the mount. With `force` it is taken off first; who still uses it has a moment to end, and
    /// then gets errors, so that it ends in any case. Returns the files whose last changes are lost by that;
    /// without `force` the mount stays where there are any.
    pub(super) fn unmount(&self, force: bool) -> Result<Vec<String>, Failure> {
        let lost = self.uncommitted(if force { COMMIT_BY_FORCE } else { COMMIT });
        if !force && !lost.is_empty() {
            return Err(self.stays(&lost));
        }
        kernel::unmount(&self.request.dir, force)?;
        notify::stopping();
        if force {
            let desk = self.clone();
            std::thread::Builder::new()
                .name("end".to_owned())
                .spawn(move || desk.end())
                .map_err(|error| internal("a thread", &error))?;
        }
        Ok(lost)
    }

    /// Has everything brought into the store; returns the files for which that fails, and why. A worker that
    /// does not answer is not waited for: the next one goes on from what it has written down.
    fn uncommitted(&self, limit: Duration) -> Vec<String> {
        match self.serving.ask(&Question::Commit, limit) {
            Ok(WorkerAnswer::Uncommitted(files)) => files,
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    fn stays(&self, files: &[String]) -> Failure {
        let named = files.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = match files.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let text = format!(
            "{}: stays mounted, for what was written last cannot be stored: {named}{more}; make room in {} or mend them, or give it up with --force",
            self.request.dir.display(),
            self.request.lower.display()
        );
        Failure::new(Exit::Internal, text)
    }

    fn end(&self) {
        if self.serving.has_ended_within(GRACE) {
            return;
        }
        log::warn!("the mount was taken off by force: those who use it get errors");
        // Without it, the end of the worker is what ends the connection.
        if force_end(self.device) && self.serving.has_ended_within(FLUSH) {
            return;
        }
        self.serving.kill();
    }
}

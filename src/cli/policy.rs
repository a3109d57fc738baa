//! `hsci policy`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::completion;

/// How a policy is put in force.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Enforcement {
    /// Report what would be refused, but let it pass
    #[arg(long)]
    pub(crate) permissive: bool,
    /// Go on although not all of it can be enforced here, and say what
    #[arg(long)]
    pub(crate) allow_partial: bool,
    /// Go on although an expectation in the policy does not hold
    #[arg(long)]
    pub(crate) allow_unmet: bool,
}

/// Values that a policy's parameters take.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Parameters {
    /// Give a parameter of the policy another value: `let NAME = ...` in it; may be repeated
    #[arg(short = 'p', long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    given: Vec<(String, String)>,
}

impl Parameters {
    /// The values by their names.
    pub(crate) fn by_name(&self) -> BTreeMap<String, String> {
        self.given.iter().cloned().collect()
    }
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// The machine that a policy is written for, where it is not this one.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Machine {
    /// One of which nothing is known
    None,
}

/// Where the policies of a machine are.
const POLICY_DIR: &str = "/etc/hsci";

/// Check policies, ask what they mean, and put them in force
///
/// A policy says which directories are redirected to which extension, what the extension is told, and
/// which calls are refused or reported. hsci-policy(5) explains the language.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Policy {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    Check(PolicyCheck),
    Explain(Box<PolicyExplain>),
    Test(PolicyTest),
    Load(PolicyLoad),
    Unload(PolicyUnload),
    List(PolicyList),
    Learn(PolicyLearn),
}

/// Say what is wrong with policies
///
/// Finds mistakes of spelling, unknown names, rules that can never match, contradict each other or
/// never decide, and policies that become too large. Changes nothing. Exit code 0 means that all
/// can be used, although there may be warnings; 1 that one cannot; 3, with --here, that this machine
/// does not enforce a line of one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci policy check /etc/hsci/mail.policy
  hsci policy check --here /etc/hsci/mail.policy    what this machine would enforce
  hsci policy check --json *.policy | jq '.[].diagnostics'")]
pub(crate) struct PolicyCheck {
    /// Policies
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Take all users, groups, executables, extensions and options for known: the policy is for another machine
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: Option<Machine>,
    /// Say as well which lines this machine would not enforce: its kernel, or mounts of now; for root
    #[arg(long, conflicts_with = "machine")]
    pub(crate) here: bool,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run the expectations in policies
///
/// An expectation stands in the policy itself: `expect deny(EACCES): open "/x" by user alice`. Exit
/// code 0 means that all hold, 1 that one does not, or that a policy cannot be used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci policy test /etc/hsci/mail.policy
  hsci policy test --machine none mail.policy")]
pub(crate) struct PolicyTest {
    /// Policies
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Take all users, groups, executables, extensions and options for known: the policy is for another machine
    #[arg(long, value_name = "MACHINE")]
    pub(crate) machine: Option<Machine>,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
}

/// Show what becomes of a call, by which rule, and why not by another
///
/// The call is imagined: PATH need not exist, and nothing is opened. A user's groups are looked up
/// unless --group names some. The object is a regular file of that user unless said otherwise.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci policy explain mail.policy --user alice --op open /home/alice/mail/x.key
  hsci policy explain mail.policy --user bob --exe /usr/bin/rsync --op write-data --flag append \\
      --size 4096 /srv/a")]
pub(crate) struct PolicyExplain {
    /// The policy
    pub(crate) file: PathBuf,
    /// The path, absolute
    pub(crate) path: PathBuf,
    /// What is done: open, read-data, write-data, unlink, rename and so on
    #[arg(long = "op", value_name = "OPERATION", add = completion::operations())]
    pub(crate) operation: String,
    /// By whom: a name or a number
    #[arg(long, value_name = "USER")]
    pub(crate) user: String,
    /// In which groups: names or numbers; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Through which executable
    #[arg(long = "exe", value_name = "PATH")]
    pub(crate) executable: Option<PathBuf>,
    /// Under which command name
    #[arg(long = "comm", value_name = "NAME")]
    pub(crate) command: Option<String>,
    /// In which cgroup
    #[arg(long, value_name = "PATH")]
    pub(crate) cgroup: Option<PathBuf>,
    /// In which pid namespace, by its inode number; that of the host if omitted
    #[arg(long = "pidns", value_name = "INODE")]
    pub(crate) pid_namespace: Option<u32>,
    /// Executed so that nobody but root can steer it, as `secure exe` asks
    #[arg(long)]
    pub(crate) secure: bool,
    /// In which user namespace, by its inode number; that of the host if omitted
    #[arg(long = "userns", value_name = "INODE")]
    pub(crate) user_namespace: Option<u32>,
    /// With which capability over the machine: sys_admin, dac_override and so on; may be repeated
    #[arg(long = "capability", value_name = "CAPABILITY")]
    pub(crate) capabilities: Vec<String>,
    /// Whose login it belongs to: a user, or none, as if omitted
    #[arg(long, value_name = "USER")]
    pub(crate) login: Option<String>,
    /// With which executable among its ancestors; may be repeated
    #[arg(long = "ancestor", value_name = "PATH")]
    pub(crate) ancestors: Vec<PathBuf>,
    /// With which open flag; may be repeated
    #[arg(long = "flag", value_name = "FLAG", add = completion::open_flags())]
    pub(crate) flags: Vec<String>,
    /// To what: file, directory, symlink and so on
    #[arg(long = "type", value_name = "TYPE", default_value = "file", add = completion::file_types())]
    pub(crate) file_type: String,
    /// Whose object it is; the user's own if omitted
    #[arg(long, value_name = "USER")]
    pub(crate) owner: Option<String>,
    /// How large it is, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub(crate) size: u64,
    /// With which permission: setuid, executable, other-writable and so on; may be repeated
    #[arg(long = "mode", value_name = "PERMISSION")]
    pub(crate) modes: Vec<String>,
    /// When, in UTC: 2026-12-31 or 2026-12-31T18:00; now if omitted
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// With which mark from calls before; may be repeated
    #[arg(long = "marked", value_name = "MARK")]
    pub(crate) marks: Vec<String>,
    /// As if all rates were exceeded
    #[arg(long)]
    pub(crate) rate_exceeded: bool,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Put a policy in force for all calls on this machine
///
/// Mounts tell their extensions what rules set. The kernel itself judges all calls, whether they reach a
/// mount or not, where it allows BPF LSM and is not locked down (`hsci doctor` tells); elsewhere, the
/// hosts of mounts judge those that they see. A policy stays until it is unloaded or the machine is
/// started anew. In place of another it takes effect at once: each call is judged by the old one or
/// by the new one. A policy with any error changes nothing. Needs root.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci policy load --permissive new.policy    report what it would refuse, refuse nothing
  hsci policy load new.policy")]
pub(crate) struct PolicyLoad {
    /// The policy: a file, or a directory whose *.policy files together are one
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    #[command(flatten)]
    pub(crate) enforcement: Enforcement,
}

/// Put a policy in force, and mount all that it redirects
///
/// Each target of the policy that is there is mounted over itself, through its extension and with its
/// options. What is mounted already stays so. Needs root.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci up                       all of /etc/hsci/*.policy
  hsci up /srv/mail.policy")]
pub(crate) struct Up {
    /// The policy: a file, or a directory whose *.policy files together are one
    #[arg(default_value = POLICY_DIR)]
    pub(crate) policy: PathBuf,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
    #[command(flatten)]
    pub(crate) enforcement: Enforcement,
}

/// Unmount all that a policy redirects, and end it
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci down
  hsci down --force /srv/mail.policy")]
pub(crate) struct Down {
    /// The policy: a file, or a directory whose *.policy files together are one
    #[arg(default_value = POLICY_DIR)]
    pub(crate) policy: PathBuf,
    /// Detach what is in use
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) parameters: Parameters,
}

/// End the policy that is in force
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci policy unload")]
pub(crate) struct PolicyUnload {}

/// Show the policy that is in force, and how often each rule decided
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci policy list
  hsci policy list --json | jq '.rules[] | select(.hits == 0).text'")]
pub(crate) struct PolicyList {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write a policy that allows what was done in a directory, and nothing else
///
/// What was done is what the policy in force has reported. Load one that denies all in the directory with
/// --permissive, which reports all and refuses nothing, and let happen what is to be allowed. The policy
/// that is printed names users, programs, operations and paths, and has expectations; read and edit it before it
/// is loaded.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci policy load --permissive all.policy    deny * in mail
  hsci policy learn /srv/mail > mail.policy
  hsci trace --json > trace                   more reports than a mount remembers
  hsci policy learn /srv/mail --from trace")]
pub(crate) struct PolicyLearn {
    /// The directory: a mount, unless --from is given
    #[arg(required_unless_present = "from")]
    pub(crate) dir: Option<PathBuf>,
    /// Learn from reports that `hsci trace --json` has written to a file
    #[arg(long, value_name = "TRACE")]
    pub(crate) from: Option<PathBuf>,
    /// Write `*` where more than so many names were seen in one directory
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    pub(crate) names: usize,
}

/// Show reports of the policy that is in force, as they come
///
/// A line for each call that a rule denied or reports, that was refused to protect a store, or that
/// was refused because something did not fit. Begins with what is remembered, and ends when
/// interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  hsci trace
  hsci trace /srv/mail --denied --user alice
  hsci trace --count 1 --json")]
pub(crate) struct Trace {
    /// A mount; the whole machine if omitted
    #[arg(add = completion::mounts())]
    pub(crate) dir: Option<PathBuf>,
    /// Only by the rule of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) rule: Option<String>,
    /// Only of calls by this user, a name or a number
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Only what was refused, or would have been
    #[arg(long)]
    pub(crate) denied: bool,
    /// End after so many reports
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,
    /// End after so many seconds without a report
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

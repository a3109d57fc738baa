//! How far the lock of a store reaches, by the file system that it lies on.

use std::os::fd::AsFd;

use hsci_protocol::failure::{Exit, Failure};
use hsci_protocol::mount::MountRequest;

use crate::lock::Last;
use crate::mounts;

/// Who is kept off by a lock.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everybody: no other machine can have the file system mounted.
    All,
    /// Everybody, for a server keeps it; but that gives it away when it hears nothing of this machine for some time.
    Server,
    /// This machine alone, although others may reach the same files; the type of the file system.
    Machine(String),
}

/// Types whose files others reach and whose locks are this machine's own.
const WITHOUT_LOCKS: [&str; 15] = [
    "9p",
    "afs",
    "davfs",
    "fuse.curlftpfs",
    "fuse.davfs",
    "fuse.gcsfuse",
    "fuse.goofys",
    "fuse.mount-s3",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "fuse.vmhgfs-fuse",
    "prl_fs",
    "vboxsf",
    "virtiofs",
];

/// Types whose servers keep locks for all; any file system in user space may be one.
const WITH_SERVERS: [&str; 12] = [
    "beegfs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "orangefs",
    "pvfs2", "smb3",
];

fn has_server(kind: &str) -> bool {
    WITH_SERVERS.contains(&kind) || kind == "fuse" || kind.starts_with("fuse.")
}

/// True if it may be a server that decides who reads the files below a directory, by the user who asks.
pub(crate) fn has_judge(lower: impl AsFd) -> bool {
    let line = mount_of(lower).ok().flatten();
    line.is_some_and(|line| has_server(&line.kind) || WITHOUT_LOCKS.contains(&line.kind.as_str()))
}

/// Options with which file systems that have locks for all keep them for themselves.
fn gives_none(kind: &str, options: &str) -> bool {
    let has = |names: &[&str]| options.split(',').any(|option| names.contains(&option));
    match kind {
        "nfs" | "nfs4" => has(&["nolock", "local_lock=all", "local_lock=flock"]),
        "cifs" | "smb3" => has(&["nobrl"]),
        "lustre" => !has(&["flock"]),
        kind => WITHOUT_LOCKS.contains(&kind),
    }
}

/// The mount that a directory lies on, if it is in this mount table.
fn mount_of(lower: impl AsFd) -> Result<Option<mounts::Line>, Failure> {
    let id = mounts::mount_id(lower);
    Ok(mounts::lines()?.into_iter().find(|line| Some(line.id) == id))
}

impl Reach {
    /// That of a lock below a directory.
    pub(super) fn of(lower: impl AsFd) -> Result<Self, Failure> {
        Ok(match mount_of(lower)? {
            Some(line) if gives_none(&line.kind, &line.options) => Self::Machine(line.kind),
            Some(line) if has_server(&line.kind) => Self::Server,
            _ => Self::All,
        })
    }

    /// Refuses a store that another machine may be serving, unless it is said that none does.
    pub(super) fn admit(&self, request: &MountRequest, is_alone: bool) -> Result<(), Failure> {
        match self {
            Self::Machine(kind) if !is_alone => {
                let text = format!(
                    "{kind} gives no lock that holds across machines, so a second host would not be kept off; use \
                     `-o single-host` if no other machine mounts this"
                );
                Err(Failure::new(Exit::Impossible, text).of(&request.lower))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a store whose last host, on another machine, may be there still.
    pub(super) fn succeed(
        &self,
        last: &Last,
        request: &MountRequest,
        takes_over: bool,
    ) -> Result<(), Failure> {
        if !matches!(self, Self::Machine(_)) || !last.is_elsewhere || takes_over {
            return Ok(());
        }
        let text = format!(
            "last served {}, and not unmounted there; if that is gone, take it over: \
             hsci mount -o single-host,take-over {} {}",
            last.text,
            request.lower.display(),
            request.dir.display()
        );
        Err(Failure::new(Exit::InUse, text).of(&request.lower))
    }
}

#[cfg(test)]
mod tests {
    use super::{gives_none, has_server};

    #[test]
    fn options_take_locks_away() {
        for (kind, options, expected) in [
            ("ext4", "rw", false),
            ("fuse.glusterfs", "rw,user_id=0", false),
            ("nfs4", "rw,vers=4.2,local_lock=none", false),
            ("nfs", "rw,vers=3,local_lock=all", true),
            ("nfs", "rw,nolock", true),
            ("cifs", "rw,nobrl", true),
            ("lustre", "rw", true),
            ("lustre", "rw,flock", false),
            ("virtiofs", "rw", true),
            ("fuse.sshfs", "rw", true),
        ] {
            assert_eq!(gives_none(kind, options), expected, "{kind} {options}");
        }
    }

    #[test]
    fn a_server_may_keep_the_locks_of_networks_and_of_programs() {
        assert!(["nfs4", "ceph", "fuse.glusterfs", "fuse"].into_iter().all(has_server));
        assert!(!["ext4", "btrfs", "overlay", "fuseblk"].into_iter().any(has_server));
    }
}

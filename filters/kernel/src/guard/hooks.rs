//! The programs of the guard: where they stand, and what is not judged without them.

use aya::programs::links::FdLink;
use aya::programs::{FExit, Lsm, Program, ProgramError};
use aya::{Btf, Ebpf};

use crate::Error;

/// Where a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A hook of the security modules, by its name.
    Hook(&'static str),
    /// The end of a function.
    End(&'static str),
}

/// One program: its name, its place, and what it is for.
pub(super) struct Guarding {
    pub(super) program: &'static str,
    pub(super) place: Place,
    pub(super) purpose: &'static str,
}

macro_rules! hooks {
    ($($program:literal $hook:literal $purpose:literal;)*) => {
        &[$(Guarding { program: $program, place: Place::Hook($hook), purpose: $purpose },)*
          Guarding { program: "renamed", place: Place::End("vfs_rename"), purpose: "renamed directories" }]
    };
}

/// All programs. Names are those of functions in `bpf/guard.bpf.c`.
pub(super) const ALL: &[Guarding] = hooks! {
    "file_open" "file_open" "open, exec, read-data, readdir and write-data";
    "file_receive" "file_receive" "descriptors passed by others";
    "mmap_file" "mmap_file" "mappings";
    "file_lock" "file_lock" "lock";
    "file_ioctl" "file_ioctl" "ioctl";
    "inode_create" "inode_create" "create-file";
    "inode_mkdir" "inode_mkdir" "mkdir";
    "inode_mknod" "inode_mknod" "mknod";
    "inode_symlink" "inode_symlink" "symlink";
    "inode_link_from" "inode_link" "link, of the old name";
    "inode_link_to" "inode_link" "link, of the new name";
    "inode_link_class" "inode_link" "links between classes";
    "inode_unlink" "inode_unlink" "unlink";
    "inode_rmdir" "inode_rmdir" "rmdir";
    "inode_rename_from" "inode_rename" "rename, of the old name";
    "inode_rename_to" "inode_rename" "rename, of the new name";
    "inode_rename_class" "inode_rename" "directories above those of rules";
    "inode_setattr" "inode_setattr" "truncate, chmod, chown and utimens";
    "inode_getattr" "inode_getattr" "getattr";
    "inode_setxattr" "inode_setxattr" "setxattr";
    "inode_getxattr" "inode_getxattr" "getxattr";
    "inode_listxattr" "inode_listxattr" "listxattr";
    "inode_removexattr" "inode_removexattr" "removexattr";
    "inode_readlink" "inode_readlink" "readlink";
    "sb_statfs" "sb_statfs" "statfs";
    "inode_free_security" "inode_free_security" "addresses used again";
    "bpf_map_access" "bpf_map" "protection of its maps";
    "bpf_prog_access" "bpf_prog" "protection of its programs";
    "sb_umount" "sb_umount" "protection of its pins";
    "ptrace_access_check" "ptrace_access_check" "protection of hosts from tracing";
    "task_kill" "task_kill" "protection of hosts from signals";
    "task_free" "task_free" "process ids used again";
};

/// Operations that no hook sees by themselves: whoever may open for writing may do these.
pub const UNSEEN: &[&str] = &["fallocate", "fsync"];

/// Loads the smallest program at a hook.
pub(super) fn probe(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), Error> {
    const NAME: &str = "task_free";
    let fail = |source| Error::Program { name: NAME, source };
    let program = ebpf.program_mut(NAME).ok_or(Error::Absent(NAME))?;
    let program: &mut Lsm = program.try_into().map_err(fail)?;
    program.load(NAME, btf).map_err(fail)
}

/// Loads a program and puts it to its place.
pub(super) fn attach(ebpf: &mut Ebpf, btf: &Btf, one: &Guarding) -> Result<FdLink, ProgramError> {
    let Some(program) = ebpf.program_mut(one.program) else {
        return Err(ProgramError::NotLoaded);
    };
    match one.place {
        Place::Hook(hook) => {
            let program: &mut Lsm = program.try_into()?;
            program.load(hook, btf)?;
            let link = program.attach()?;
            Ok(program.take_link(link)?.into())
        }
        Place::End(function) => {
            let program: &mut FExit = program.try_into()?;
            program.load(function, btf)?;
            let link = program.attach()?;
            Ok(program.take_link(link)?.into())
        }
    }
}

/// The kernel's number of a loaded program.
pub(super) fn id(program: &Program) -> Option<u32> {
    program.info().ok().map(|info| info.id())
}

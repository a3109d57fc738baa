//! The programs of the guard: where they stand, and what is not judged without them.

use aya::programs::links::FdLink;
use aya::programs::{BtfTracePoint, FExit, Lsm, Program, ProgramError};
use aya::{Btf, BtfError, Ebpf};
use aya_obj::VerifierLog;
use aya_obj::btf::BtfKind;

use crate::Error;
use crate::sys::may_load_for_hooks;

/// Where a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A hook of the security modules, by its name.
    Hook(&'static str),
    /// One that older kernels do not have: there, the same calls come by another.
    NewHook(&'static str),
    /// A tracepoint.
    Event(&'static str),
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
    ($($program:literal $place:ident $hook:literal $purpose:literal;)*) => {
        &[$(Guarding { program: $program, place: Place::$place($hook), purpose: $purpose },)*
          Guarding { program: "renamed", place: Place::End("vfs_rename"), purpose: "renamed directories" }]
    };
}

/// All programs. Names are those of functions in `bpf/guard.bpf.c` and what it includes.
pub(super) const ALL: &[Guarding] = hooks! {
    "file_open" Hook "file_open" "open, exec, read-data, readdir and write-data";
    "bprm_committed_creds" Hook "bprm_committed_creds" "exec that takes marks";
    "file_receive" Hook "file_receive" "descriptors passed by others";
    "mmap_file" Hook "mmap_file" "mappings";
    "file_mprotect" Hook "file_mprotect" "exec, of mappings";
    "file_lock" Hook "file_lock" "lock";
    "file_ioctl" Hook "file_ioctl" "ioctl";
    "inode_create" Hook "inode_create" "create-file";
    "inode_mkdir" Hook "inode_mkdir" "mkdir";
    "inode_mknod" Hook "inode_mknod" "mknod";
    "inode_symlink" Hook "inode_symlink" "symlink";
    "inode_link_from" Hook "inode_link" "link, of the old name";
    "inode_link_to" Hook "inode_link" "link, of the new name";
    "inode_link_class" Hook "inode_link" "links between classes";
    "inode_unlink" Hook "inode_unlink" "unlink";
    "inode_rmdir" Hook "inode_rmdir" "rmdir";
    "inode_rename_from" Hook "inode_rename" "rename, of the old name";
    "inode_rename_to" Hook "inode_rename" "rename, of the new name";
    "inode_rename_class" Hook "inode_rename" "directories above those of rules";
    "inode_setattr" Hook "inode_setattr" "truncate, chmod, chown and utimens";
    "inode_getattr" Hook "inode_getattr" "getattr";
    "inode_setxattr" Hook "inode_setxattr" "setxattr";
    "inode_getxattr" Hook "inode_getxattr" "getxattr";
    "inode_listxattr" Hook "inode_listxattr" "listxattr";
    "inode_removexattr" Hook "inode_removexattr" "removexattr";
    "inode_readlink" Hook "inode_readlink" "readlink";
    "sb_statfs" Hook "sb_statfs" "statfs";
    "inode_free_security" Hook "inode_free_security" "addresses used again";
    "file_ioctl_compat" NewHook "file_ioctl_compat" "ioctl of 32-bit programs";
    "inode_set_acl" NewHook "inode_set_acl" "setxattr of lists of access";
    "inode_get_acl" NewHook "inode_get_acl" "getxattr of lists of access";
    "inode_remove_acl" NewHook "inode_remove_acl" "removexattr of lists of access";
    "sb_mount" Hook "sb_mount" "mounts over parts of stores";
    "move_mount" Hook "move_mount" "mounts moved over parts of stores";
    "bpf_map_access" Hook "bpf_map" "protection of its maps";
    "bpf_prog_access" Hook "bpf_prog" "protection of its programs";
    "sb_umount" Hook "sb_umount" "protection of its pins";
    "ptrace_access_check" Hook "ptrace_access_check" "protection of hosts from tracing";
    "task_kill" Hook "task_kill" "protection of hosts from signals";
    "process_exit" Event "sched_process_exit" "hosts that end";
    "task_free" Hook "task_free" "process ids used again";
};

/// Operations that no hook sees by themselves: whoever may open for writing may do these.
pub const UNSEEN: &[&str] = &["fallocate", "fsync"];

/// The hook of the smallest program.
const NAME: &str = "task_free";

/// Asks the kernel whether there is any use in looking for hooks.
pub(super) fn ask() -> Result<(), Error> {
    may_load_for_hooks().map_err(|io_error| {
        let verifier_log = VerifierLog::new(String::new());
        Error::Program { name: NAME, source: ProgramError::LoadError { io_error, verifier_log } }
    })
}

/// Loads the smallest program at a hook.
pub(super) fn probe(ebpf: &mut Ebpf, btf: &Btf) -> Result<(), Error> {
    let fail = |source| Error::Program { name: NAME, source };
    let program = ebpf.program_mut(NAME).ok_or(Error::Absent(NAME))?;
    let program: &mut Lsm = program.try_into().map_err(fail)?;
    program.load(NAME, btf).map_err(fail)
}

/// What is not judged because the kernel lacks its place: the same that attaching says.
pub(super) fn missing(btf: &Btf) -> Vec<(&'static Guarding, ProgramError)> {
    let absent = |one: &'static Guarding| {
        let (name, kind) = match one.place {
            Place::NewHook(_) => return None,
            Place::Hook(hook) => (format!("bpf_lsm_{hook}"), BtfKind::Func),
            Place::Event(tracepoint) => (format!("btf_trace_{tracepoint}"), BtfKind::Typedef),
            Place::End(function) => (function.to_owned(), BtfKind::Func),
        };
        let error = btf.id_by_type_name_kind(&name, kind).err()?;
        Some((one, ProgramError::Btf(error)))
    };
    ALL.iter().filter_map(absent).collect()
}

/// Loads a program and puts it to its place, unless it is for newer kernels.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    btf: &Btf,
    one: &Guarding,
) -> Result<Option<FdLink>, ProgramError> {
    let Some(program) = ebpf.program_mut(one.program) else {
        return Err(ProgramError::NotLoaded);
    };
    match one.place {
        Place::Hook(hook) | Place::NewHook(hook) => {
            let program: &mut Lsm = program.try_into()?;
            match program.load(hook, btf) {
                Err(ProgramError::Btf(BtfError::UnknownBtfTypeName { .. }))
                    if matches!(one.place, Place::NewHook(_)) =>
                {
                    return Ok(None);
                }
                loaded => loaded?,
            }
            let link = program.attach()?;
            Ok(Some(program.take_link(link)?.into()))
        }
        Place::Event(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(tracepoint, btf)?;
            let link = program.attach()?;
            Ok(Some(program.take_link(link)?.into()))
        }
        Place::End(function) => {
            let program: &mut FExit = program.try_into()?;
            program.load(function, btf)?;
            let link = program.attach()?;
            Ok(Some(program.take_link(link)?.into()))
        }
    }
}

/// The kernel's number of a loaded program.
pub(super) fn id(program: &Program) -> Option<u32> {
    program.info().ok().map(|info| info.id())
}

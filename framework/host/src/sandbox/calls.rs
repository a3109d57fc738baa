//! System calls: those on a list, and with some of them only certain arguments. All others end the
//! process and name themselves in the log.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

use hsci_extension::{Needs, protection};
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use syscalls::Sysno;

use crate::sys::violation::end_at_forbidden_calls;

/// What a process takes that only parses messages, and any other takes as well.
const MESSAGES: &[Sysno] = &[
    Sysno::sendmsg,
    Sysno::recvmsg,
    // The log.
    Sysno::write,
    Sysno::close,
    Sysno::brk,
    Sysno::mmap,
    Sysno::munmap,
    Sysno::mremap,
    Sysno::mprotect,
    Sysno::madvise,
    Sysno::futex,
    Sysno::getpid,
    Sysno::gettid,
    Sysno::getrandom,
    Sysno::clock_gettime,
    Sysno::sigaltstack,
    Sysno::rt_sigprocmask,
    Sysno::rt_sigreturn,
    Sysno::restart_syscall,
    Sysno::exit,
    Sysno::exit_group,
];

/// Calls with any arguments. The kernel keeps a map of those for which a filter allows everything
/// (Linux 5.11), so they cost the same as without a filter.
const ANY: &[Sysno] = &[
    // Files, by descriptor or relative to one.
    Sysno::read,
    Sysno::readv,
    Sysno::writev,
    Sysno::pread64,
    Sysno::pwrite64,
    Sysno::preadv,
    Sysno::pwritev,
    Sysno::preadv2,
    Sysno::pwritev2,
    Sysno::sendfile,
    Sysno::splice,
    Sysno::copy_file_range,
    Sysno::lseek,
    Sysno::openat,
    Sysno::openat2,
    Sysno::name_to_handle_at,
    Sysno::open_by_handle_at,
    Sysno::close_range,
    Sysno::dup,
    Sysno::dup3,
    Sysno::fcntl,
    Sysno::flock,
    Sysno::fstat,
    Sysno::statx,
    Sysno::statfs,
    Sysno::fstatfs,
    Sysno::faccessat,
    Sysno::faccessat2,
    Sysno::getcwd,
    Sysno::getdents64,
    Sysno::readlinkat,
    Sysno::ftruncate,
    Sysno::fallocate,
    Sysno::fadvise64,
    Sysno::readahead,
    Sysno::fsync,
    Sysno::fdatasync,
    Sysno::syncfs,
    Sysno::sync_file_range,
    Sysno::mkdirat,
    Sysno::mknodat,
    Sysno::symlinkat,
    Sysno::linkat,
    Sysno::unlinkat,
    Sysno::renameat,
    Sysno::renameat2,
    Sysno::fchmod,
    Sysno::fchmodat,
    Sysno::fchmodat2,
    Sysno::fchown,
    Sysno::fchownat,
    Sysno::utimensat,
    Sysno::umask,
    Sysno::setxattr,
    Sysno::lsetxattr,
    Sysno::fsetxattr,
    Sysno::getxattr,
    Sysno::lgetxattr,
    Sysno::fgetxattr,
    Sysno::getxattrat,
    Sysno::listxattr,
    Sysno::llistxattr,
    Sysno::flistxattr,
    Sysno::removexattr,
    Sysno::lremovexattr,
    Sysno::fremovexattr,
    // Descriptors that wait, and messages on the sockets that the supervisor has made.
    Sysno::ppoll,
    Sysno::pselect6,
    Sysno::epoll_create1,
    Sysno::epoll_ctl,
    Sysno::epoll_pwait,
    Sysno::eventfd2,
    Sysno::timerfd_create,
    Sysno::timerfd_settime,
    Sysno::pipe2,
    Sysno::memfd_create,
    Sysno::sendto,
    Sysno::recvfrom,
    Sysno::shutdown,
    Sysno::getsockopt,
    Sysno::setsockopt,
    // Memory.
    Sysno::mincore,
    Sysno::membarrier,
    // Threads, time, and what a process may know of itself.
    Sysno::set_robust_list,
    Sysno::rseq,
    Sysno::set_tid_address,
    Sysno::sched_yield,
    Sysno::sched_getaffinity,
    Sysno::sched_setaffinity,
    Sysno::sched_getparam,
    Sysno::sched_getscheduler,
    Sysno::sched_setscheduler,
    Sysno::sched_setattr,
    Sysno::sched_getattr,
    Sysno::getcpu,
    Sysno::nanosleep,
    Sysno::clock_nanosleep,
    Sysno::clock_getres,
    Sysno::gettimeofday,
    Sysno::getppid,
    Sysno::getuid,
    Sysno::geteuid,
    Sysno::getgid,
    Sysno::getegid,
    Sysno::getgroups,
    Sysno::capget,
    Sysno::getrusage,
    // For the end of a process that reads for this one.
    Sysno::wait4,
    Sysno::sysinfo,
    Sysno::uname,
    // The caller's identity, for what it makes.
    Sysno::setfsuid,
    Sysno::setfsgid,
    // Answered ENOSYS, see `without_clone3`.
    Sysno::clone3,
];

/// The same by their older names, which not every architecture has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Sysno] = &[
    Sysno::open,
    Sysno::stat,
    Sysno::lstat,
    Sysno::newfstatat,
    Sysno::access,
    Sysno::readlink,
    Sysno::getdents,
    Sysno::mkdir,
    Sysno::unlink,
    Sysno::rmdir,
    Sysno::rename,
    Sysno::chmod,
    Sysno::poll,
    Sysno::select,
    Sysno::epoll_wait,
    Sysno::dup2,
    Sysno::getrlimit,
    Sysno::time,
    Sysno::arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[Sysno] = &[Sysno::fstatat];

/// For extensions that use the network.
const NETWORK: &[Sysno] = &[
    Sysno::socket,
    Sysno::connect,
    Sysno::bind,
    Sysno::listen,
    Sysno::accept,
    Sysno::accept4,
    Sysno::getsockname,
    Sysno::getpeername,
    Sysno::sendmmsg,
    Sysno::recvmmsg,
];

/// For extensions that run programs: what those are kept from in any case. Everything else is
/// allowed, for nobody knows what programs need.
const NEVER: &[Sysno] = &[
    Sysno::ptrace,
    Sysno::process_vm_readv,
    Sysno::process_vm_writev,
    Sysno::pidfd_getfd,
    Sysno::kcmp,
    Sysno::perf_event_open,
    Sysno::bpf,
    Sysno::userfaultfd,
    Sysno::io_uring_setup,
    Sysno::setns,
    Sysno::mount,
    Sysno::umount2,
    Sysno::pivot_root,
    Sysno::chroot,
    Sysno::open_tree,
    Sysno::move_mount,
    Sysno::fsopen,
    Sysno::fspick,
    Sysno::mount_setattr,
    Sysno::swapon,
    Sysno::swapoff,
    Sysno::reboot,
    Sysno::kexec_load,
    Sysno::kexec_file_load,
    Sysno::init_module,
    Sysno::finit_module,
    Sysno::delete_module,
    Sysno::quotactl,
    Sysno::acct,
    Sysno::add_key,
    Sysno::request_key,
    Sysno::keyctl,
    Sysno::settimeofday,
    Sysno::clock_settime,
    Sysno::adjtimex,
    Sysno::clock_adjtime,
];

/// What the kernel told the program at its start, such as the size of a page (Linux 6.4).
const PR_GET_AUXV: u64 = 0x4155_5856;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Outcome<T> = Result<T, seccompiler::Error>;

/// From now on this thread and those that it starts make no other calls.
pub(super) fn limit(needs: &Needs, lower: &OwnedFd) -> Result<(), String> {
    end_at_forbidden_calls().map_err(|error| error.to_string())?;
    let filters = match needs.programs {
        true => vec![handles_of(lower), without(NEVER)],
        // The list comes last, for applying filters is not on it.
        false => vec![handles_of(lower), without_clone3(), only(needs)],
    };
    let first = usize::from(!protection::stands("handles"));
    for filter in filters.into_iter().skip(first) {
        let filter = filter.map_err(|error| error.to_string())?;
        apply_filter(&filter).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The same, for who has nothing but messages.
pub(super) fn limit_to_messages() -> Result<(), String> {
    end_at_forbidden_calls().map_err(|error| error.to_string())?;
    let mut rules: Rules = MESSAGES.iter().map(|call| (number(*call), Vec::new())).collect();
    let own = u64::from(std::process::id());
    let limit = |rules: &mut Rules| -> Outcome<()> {
        let condition = SeccompCondition::new(0, Dword, Eq, own)?;
        rules.insert(number(Sysno::tgkill), vec![SeccompRule::new(vec![condition])?]);
        apply_filter(&filter(std::mem::take(rules), SeccompAction::Trap, SeccompAction::Allow)?)
    };
    limit(&mut rules).map_err(|error| error.to_string())
}

fn only(needs: &Needs) -> Outcome<BpfProgram> {
    let network = if needs.network { NETWORK } else { &[] };
    let any = [MESSAGES, ANY, OLDER, network].concat();
    let mut rules: Rules = any.into_iter().map(|call| (number(call), Vec::new())).collect();
    for (call, argument, operator, value) in limited() {
        let condition = SeccompCondition::new(argument, width(&operator), operator, value);
        let rule = SeccompRule::new(vec![condition?])?;
        rules.entry(number(call)).or_default().push(rule);
    }
    filter(rules, SeccompAction::Trap, SeccompAction::Allow)
}

fn without(calls: &[Sysno]) -> Outcome<BpfProgram> {
    let rules = calls.iter().map(|call| (number(*call), Vec::new())).collect();
    filter(rules, SeccompAction::Allow, SeccompAction::Trap)
}

/// The flags of clone3(2) lie in memory, where a filter cannot look; without it the C library takes
/// clone(2).
fn without_clone3() -> Outcome<BpfProgram> {
    let rules = [(number(Sysno::clone3), Vec::new())].into();
    filter(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))
}

/// File handles are opened on the file system of the lower directory alone: with any other descriptor
/// `CAP_DAC_READ_SEARCH` would open every file next to it, all devices by that of `/dev/fuse`. So the
/// number of the lower directory's descriptor is refused to any other file.
fn handles_of(lower: &OwnedFd) -> Outcome<BpfProgram> {
    let number_of_lower = lower.as_raw_fd() as u64;
    let is = |call, argument, operator| -> Outcome<(i64, Vec<SeccompRule>)> {
        let condition = SeccompCondition::new(argument, Dword, operator, number_of_lower)?;
        Ok((number(call), vec![SeccompRule::new(vec![condition])?]))
    };
    let mut rules: Rules = [
        is(Sysno::open_by_handle_at, 0, Ne)?,
        is(Sysno::close, 0, Eq)?,
        is(Sysno::dup3, 1, Eq)?,
        #[cfg(target_arch = "x86_64")]
        is(Sysno::dup2, 1, Eq)?,
    ]
    .into();
    rules.insert(number(Sysno::close_range), Vec::new());
    filter(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

fn filter(rules: Rules, other: SeccompAction, listed: SeccompAction) -> Outcome<BpfProgram> {
    let target = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, other, listed, target)?.try_into()?)
}

fn number(call: Sysno) -> i64 {
    i64::from(call.id())
}

fn width(operator: &SeccompCmpOp) -> SeccompCmpArgLen {
    match operator {
        MaskedEq(_) => SeccompCmpArgLen::Qword,
        _ => Dword,
    }
}

/// Calls of which one argument must compare so; any of the lines for a call will do.
fn limited() -> Vec<(Sysno, u8, SeccompCmpOp, u64)> {
    // What makes a thread of this process and no process, in no namespace of its own.
    let thread = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let spaces = libc::CLONE_NEWNS
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let own = u64::from(std::process::id());
    vec![
        (Sysno::clone, 0, MaskedEq((thread | spaces) as u64), thread as u64),
        // A umask of its own for each thread.
        (Sysno::unshare, 0, Eq, libc::CLONE_FS as u64),
        // The end of this process, by its own hand.
        (Sysno::tgkill, 0, Eq, own),
        (Sysno::rt_sigaction, 0, Ne, libc::SIGSYS as u64),
        // Its own limits.
        (Sysno::prlimit64, 0, Eq, 0),
        (Sysno::socketpair, 0, Eq, libc::AF_UNIX as u64),
        (Sysno::prctl, 0, Eq, libc::PR_SET_NAME as u64),
        (Sysno::prctl, 0, Eq, libc::PR_GET_NAME as u64),
        (Sysno::prctl, 0, Eq, libc::PR_SET_VMA as u64),
        (Sysno::prctl, 0, Eq, libc::PR_GET_SECUREBITS as u64),
        (Sysno::prctl, 0, Eq, PR_GET_AUXV),
        (Sysno::prctl, 0, Eq, libc::PR_GET_DUMPABLE as u64),
        // Whether a descriptor is a terminal.
        (Sysno::ioctl, 1, Eq, libc::TCGETS),
        // Whether a directory ignores the case of names.
        (Sysno::ioctl, 1, Eq, libc::FS_IOC_GETFLAGS),
        // Its own priority, which it can only lower.
        (Sysno::setpriority, 0, Eq, u64::from(libc::PRIO_PROCESS)),
        (Sysno::ioprio_set, 0, Eq, 1),
    ]
}

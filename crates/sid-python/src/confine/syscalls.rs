//! seccomp: which system calls there are.
//!
//! A list of what is allowed, because the list of what is dangerous grows with every kernel. What is not on it answers "not permitted".

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::Grants;

/// Filters in the order in which they are put in force.
pub(super) struct Filters(Vec<BpfProgram>);

impl Filters {
    pub(super) fn apply(&self) -> Result<(), String> {
        self.0.iter().try_for_each(|filter| apply_filter(filter)).map_err(|e| e.to_string())
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filters for these grants. The strictest answer of all filters counts, so a call that is to fail in its own way is allowed by the list.
pub(super) fn filters(grants: Grants) -> Result<Filters, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let answers = |calls: &[c_long], errno: i32| {
        let rules: Rules = calls.iter().map(|call| (*call, Vec::new())).collect();
        compile(rules, SeccompAction::Allow, SeccompAction::Errno(errno.unsigned_abs()), arch)
    };
    let not_permitted = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    Ok(Filters(vec![
        // Its flags are in memory, where no filter can look; the C library goes on to `clone`.
        answers(&[libc::SYS_clone3], libc::ENOSYS)?,
        // Landlock does not guard modes, owners and times: a function could lock the server out of its own files. Programs that copy files
        // set them without need, so they are told that it worked.
        answers(CHANGE_MODES, 0)?,
        answers(EXTENDED_ATTRIBUTES, libc::ENOTSUP)?,
        compile(allowed(grants)?, not_permitted, SeccompAction::Allow, arch)?,
    ]))
}

fn compile(rules: Rules, otherwise: SeccompAction, matched: SeccompAction, arch: TargetArch) -> Result<BpfProgram, String> {
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(|e| e.to_string())?;
    BpfProgram::try_from(filter).map_err(|e| e.to_string())
}

fn allowed(grants: Grants) -> Result<Rules, String> {
    let plain = [FILES, MEMORY, THREADS, WAITING, OLD, CHANGE_MODES, EXTENDED_ATTRIBUTES, &[libc::SYS_clone3]];
    let mut rules: Rules = plain.iter().flat_map(|calls| calls.iter()).map(|call| (*call, Vec::new())).collect();
    let mut only = |call: c_long, argument: u8, comparison: SeccompCmpOp, values: &[u64]| -> Result<(), String> {
        let one = |value: &u64| {
            let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison.clone(), *value)?;
            SeccompRule::new(vec![condition])
        };
        let made = values.iter().map(one).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        rules.entry(call).or_default().extend(made);
        Ok(())
    };
    let number = |n: i32| u64::from(n.unsigned_abs());
    only(libc::SYS_socketpair, 0, SeccompCmpOp::Eq, &[number(libc::AF_UNIX)])?;
    only(libc::SYS_prctl, 0, SeccompCmpOp::Eq, &[number(libc::PR_SET_NAME), number(libc::PR_GET_NAME), SET_VMA])?;
    only(
        libc::SYS_ioctl,
        1,
        SeccompCmpOp::Eq,
        &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX],
    )?;
    // Limits may be asked, not changed: whoever was root would be free to raise them.
    only(libc::SYS_prlimit64, 2, SeccompCmpOp::Eq, &[0])?;
    if grants.network {
        only(libc::SYS_socket, 0, SeccompCmpOp::Eq, &[number(libc::AF_INET), number(libc::AF_INET6)])?;
    }
    let own = u64::from(std::process::id());
    if grants.processes {
        only(libc::SYS_clone, 0, SeccompCmpOp::MaskedEq(NAMESPACES), &[0])?;
    } else {
        let thread = number(libc::CLONE_THREAD);
        only(libc::SYS_clone, 0, SeccompCmpOp::MaskedEq(thread), &[thread])?;
        // `exec` keeps the number, so this is Python's own. With processes, Landlock keeps signals inside.
        only(libc::SYS_kill, 0, SeccompCmpOp::Eq, &[own])?;
        only(libc::SYS_tgkill, 0, SeccompCmpOp::Eq, &[own])?;
    }
    let granted = [(grants.network, NETWORK), (grants.processes, PROCESSES)];
    rules.extend(granted.iter().filter(|(is, _)| *is).flat_map(|(_, calls)| calls.iter()).map(|call| (*call, Vec::new())));
    Ok(rules)
}

/// `PR_SET_VMA`: the C library names its memory.
const SET_VMA: u64 = 0x5356_4d41;
/// `CLONE_NEW*`.
const NAMESPACES: u64 = 0x7e02_0080;

const FILES: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_statfs,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_umask,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_uname,
];

const MEMORY: &[c_long] = &[
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_brk,
    libc::SYS_membarrier,
];

/// Of this process alone: none of them takes another's number and changes it.
const THREADS: &[c_long] = &[
    libc::SYS_exit,
    libc::SYS_exit_group,
    // The filter is there before Python is started. Landlock leaves nothing to execute but Python itself.
    libc::SYS_execve,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_capget,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_sysinfo,
    libc::SYS_getcpu,
    libc::SYS_getpriority,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_getparam,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigpending,
    libc::SYS_sigaltstack,
];

/// Clocks, timers, events, and the sockets of a pair.
const WAITING: &[c_long] = &[
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
];

/// Names that only the older architecture has.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_time,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

const CHANGE_MODES: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

/// The same number everywhere; Linux 6.6.
const FCHMODAT2: c_long = 452;

const EXTENDED_ATTRIBUTES: &[c_long] = &[
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
];

const NETWORK: &[c_long] =
    &[libc::SYS_connect, libc::SYS_bind, libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_sendmmsg, libc::SYS_recvmmsg];

/// No `setsid` and no `setpgid`: the whole group is killed together.
const PROCESSES: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    libc::SYS_kill,
    libc::SYS_tgkill,
];

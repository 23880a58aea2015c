//! Seccomp: which system calls are refused. A refused call answers "not permitted"; the few that
//! programs fall back from answer "not implemented".

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, apply_filter,
};
use std::collections::BTreeMap;
use std::io::{Error, Result};

type Rules = BTreeMap<c_long, Vec<Rule>>;

/// Modes, owners, times and attributes, which Landlock does not guard; tracing; mounting; and what
/// only an administrator needs.
const REFUSED: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_fanotify_init,
];

/// The same in their old spellings.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[c_long] = &[];

/// Starting processes, for the reader.
#[cfg(target_arch = "x86_64")]
const STARTING: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_fork,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const STARTING: &[c_long] = &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_clone, libc::SYS_clone3];

/// Newer than the `libc` crate's table on some targets: the same number everywhere.
const SYS_FCHMODAT2: c_long = 452;
/// `fcntl` command that could freeze the runtime's open of a file.
const F_SETLEASE: u64 = 1024;

/// For a runner.
pub fn runner(network: bool) -> Result<()> {
    for filter in runner_filters(network)? {
        apply_filter(&filter).map_err(Error::other)?;
    }
    Ok(())
}

/// The same as the bytes that the kernel reads, for a program that applies them.
pub fn runner_bytes(network: bool) -> Result<Vec<Vec<u8>>> {
    let bytes = |filter: &BpfProgram| {
        let words = filter.iter().flat_map(|step| {
            let [a, b] = step.code.to_ne_bytes();
            [[a, b, step.jt, step.jf], step.k.to_ne_bytes()].concat()
        });
        words.collect()
    };
    Ok(runner_filters(network)?.iter().map(bytes).collect())
}

fn runner_filters(network: bool) -> Result<[BpfProgram; 2]> {
    let mut rules = refused();
    // A stream `socketpair` stays: child processes need it.
    rules.insert(libc::SYS_socket, if network { unless_internet()? } else { vec![] });
    rules.insert(libc::SYS_socketpair, vec![when(1, Op::MaskedEq(0xf), libc::SOCK_DGRAM as u64)?]);
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    let new =
        |flag: i32| when(0, Op::MaskedEq(u64::from(flag.cast_unsigned())), u64::from(flag.cast_unsigned()));
    rules.insert(libc::SYS_clone, namespaces.into_iter().map(new).collect::<Result<_>>()?);
    // Its flags lie in memory, where a filter cannot see them; libraries fall back to `clone`.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    Ok([program(rules, libc::EPERM)?, program(clone3, libc::ENOSYS)?])
}

/// For a reader: besides, no sockets and no new processes.
pub fn reader() -> Result<()> {
    let mut rules = refused();
    for call in STARTING.iter().chain(&[libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect]) {
        rules.insert(*call, vec![]);
    }
    apply_filter(&program(rules, libc::EPERM)?).map_err(Error::other)
}

/// For a plugin's process: the internet and threads, and otherwise what a keeper may. It signals
/// nobody but itself, and stays bound to the life of the runtime.
pub fn plugin() -> Result<()> {
    let mut rules = refused();
    for call in STARTING {
        rules.insert(*call, vec![]);
    }
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    rules.insert(libc::SYS_clone, vec![when(0, Op::MaskedEq(thread), 0)?]);
    rules.remove(&libc::SYS_clone3);
    rules.insert(libc::SYS_socket, unless_internet()?);
    // A stream `socketpair` stays: tokio makes one for itself.
    rules.insert(libc::SYS_socketpair, vec![when(1, Op::MaskedEq(0xf), libc::SOCK_DGRAM as u64)?]);
    let itself = u64::from(std::process::id());
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, vec![when(0, Op::Ne, itself)?]);
    }
    for call in [libc::SYS_tkill, libc::SYS_pidfd_send_signal] {
        rules.insert(call, vec![]);
    }
    rules.insert(libc::SYS_prctl, vec![when(0, Op::Eq, libc::PR_SET_PDEATHSIG as u64)?]);
    // Its flags lie in memory, where a filter cannot see them; libraries fall back to `clone`.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, vec![])]);
    for filter in [program(rules, libc::EPERM)?, program(clone3, libc::ENOSYS)?] {
        apply_filter(&filter).map_err(Error::other)?;
    }
    Ok(())
}

fn refused() -> Rules {
    let mut rules: Rules = REFUSED.iter().chain(REFUSED_OLD).map(|call| (*call, vec![])).collect();
    if let Ok(lease) = when(1, Op::Eq, F_SETLEASE) {
        rules.insert(libc::SYS_fcntl, vec![lease]);
    }
    // The kernel lets any process of a user set the limits of any other: of the runtime, too.
    if let Ok(of_another) = when(0, Op::Ne, 0) {
        rules.insert(libc::SYS_prlimit64, vec![of_another]);
    }
    rules
}

/// Any address family but the internet's two.
fn unless_internet() -> Result<Vec<Rule>> {
    let other = |family: i32| Condition::new(0, Len::Dword, Op::Ne, u64::from(family.cast_unsigned()));
    let both = other(libc::AF_INET).and_then(|v4| other(libc::AF_INET6).map(|v6| vec![v4, v6]));
    Ok(vec![both.and_then(Rule::new).map_err(Error::other)?])
}

fn when(argument: u8, op: Op, value: u64) -> Result<Rule> {
    Condition::new(argument, Len::Dword, op, value).and_then(|one| Rule::new(vec![one])).map_err(Error::other)
}

fn program(rules: Rules, errno: i32) -> Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(Error::other)?;
    let refuse = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).map_err(Error::other)?;
    filter.try_into().map_err(Error::other)
}

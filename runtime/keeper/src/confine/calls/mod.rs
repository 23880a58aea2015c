//! Seccomp: which system calls are refused. A refused call answers "not permitted"; the few that
//! programs fall back from answer "not implemented".

mod lists;
mod program;

use lists::{REFUSED, REFUSED_OLD, STARTING};
use program::{DenyList, any_bit, when, when_all};
use seccompiler::{BpfProgram, SeccompCmpOp as Op, SeccompRule as Rule, apply_filter};
use std::io::{Error, Result};

/// `fcntl` command that could freeze the runtime's open of a file.
const F_SETLEASE: u64 = 1024;

/// What differs between runners.
#[derive(Debug, Clone, Copy)]
pub struct RunnerCalls {
    /// It may open internet sockets.
    pub network: bool,
}

/// For a runner.
pub fn runner(calls: RunnerCalls) -> Result<()> {
    apply(&runner_filters(calls)?)
}

/// The same as the bytes that the kernel reads, for a program that applies them.
pub fn runner_bytes(calls: RunnerCalls) -> Result<Vec<Vec<u8>>> {
    Ok(runner_filters(calls)?.iter().map(program::bytes).collect())
}

fn runner_filters(calls: RunnerCalls) -> Result<Vec<BpfProgram>> {
    let mut list = refused()?;
    if calls.network {
        list.refuse_when(libc::SYS_socket, unless_internet()?);
    } else {
        list.refuse(&[libc::SYS_socket]);
    }
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ];
    let namespaces = namespaces.into_iter().fold(0, |all, one| all | one.cast_unsigned());
    list.refuse_when(libc::SYS_clone, any_bit(0, namespaces)?);
    list.programs()
}

/// For a reader: besides, no sockets and no new processes.
pub fn reader() -> Result<()> {
    let mut list = refused()?;
    list.refuse(STARTING);
    list.refuse(&[libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect]);
    apply(&list.programs()?)
}

/// For a plugin's process: the internet and threads, and otherwise what a keeper may. It signals
/// nobody but itself, and stays bound to the life of the runtime.
pub fn plugin() -> Result<()> {
    apply(&plugin_filters(std::process::id())?)
}

fn plugin_filters(itself: u32) -> Result<Vec<BpfProgram>> {
    let mut list = refused()?;
    list.refuse(STARTING);
    list.refuse_when(libc::SYS_clone, vec![when(0, Op::MaskedEq(CLONE_THREAD), 0)?]);
    list.answer(libc::ENOSYS, &[libc::SYS_clone3]);
    list.refuse_when(libc::SYS_socket, unless_internet()?);
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        list.refuse_when(call, vec![when(0, Op::Ne, u64::from(itself))?]);
    }
    list.refuse(&[libc::SYS_tkill, libc::SYS_pidfd_send_signal]);
    list.refuse_when(libc::SYS_prctl, vec![when(0, Op::Eq, libc::PR_SET_PDEATHSIG as u64)?]);
    list.programs()
}

const CLONE_THREAD: u64 = libc::CLONE_THREAD as u64;

/// What neither a runner nor a reader nor a plugin may.
fn refused() -> Result<DenyList> {
    let mut list = DenyList::default();
    list.refuse(REFUSED);
    list.refuse(REFUSED_OLD);
    // Its flags lie in memory, where a filter cannot see them; libraries fall back to `clone`.
    list.answer(libc::ENOSYS, &[libc::SYS_clone3]);
    list.refuse_when(libc::SYS_fcntl, vec![when(1, Op::Eq, F_SETLEASE)?]);
    // The kernel lets any process of a user set the limits of any other: of the runtime, too.
    list.refuse_when(libc::SYS_prlimit64, vec![when(0, Op::Ne, 0)?]);
    // A stream `socketpair` stays: child processes need it, and tokio makes one for itself.
    list.refuse_when(libc::SYS_socketpair, vec![when(1, Op::MaskedEq(0xf), libc::SOCK_DGRAM as u64)?]);
    Ok(list)
}

/// Any address family but the internet's two.
fn unless_internet() -> Result<Vec<Rule>> {
    let others = [libc::AF_INET, libc::AF_INET6].map(|family| (0, Op::Ne, u64::from(family.cast_unsigned())));
    Ok(vec![when_all(&others)?])
}

fn apply(filters: &[BpfProgram]) -> Result<()> {
    filters.iter().try_for_each(|filter| apply_filter(filter).map_err(Error::other))
}

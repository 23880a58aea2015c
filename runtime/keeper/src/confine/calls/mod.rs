//! Seccomp: which system calls are refused. A refused call answers "not permitted"; the few for which programs have
//! another way, and those that this program does not know, answer "not implemented".

mod lists;
mod program;
#[cfg(test)]
mod tests;

use lists::{
    ABSENT, ATTRIBUTES, FCNTLS, FCNTLS_THAT_SIGNAL, FIXED_OPTIONS, INTERNET, INTERNET_KINDS, IOCTLS, MAKING,
    MODES, NAMESPACES, OPENING, PAIRS, PROTOCOLS, READER, READER_FCNTLS, READER_OLD, REFUSED, SCHEDULING,
    STARTING, TIMES,
};
use program::{AllowList, DenyList, any_bit, one_of, only, unless, when, when_all, when_with_pointer};
use seccompiler::{BpfProgram, SeccompCmpOp as Op, apply_filter};
use std::io::{Error, Result};

/// The differences between runners.
#[derive(Debug, Clone, Copy)]
pub struct RunnerCalls {
    /// Whether it may open internet sockets.
    pub network: bool,
    /// Whether something else guards the length of files that it may not write: Landlock, since its third version, or
    /// mounts.
    pub length_guarded: bool,
    /// Whether it may change modes and times of its own files. Only where mounts say which files those are, and only
    /// for another user than root, which also owns the devices.
    pub own_files: bool,
}

/// Refuses the calling process what a runner may not do.
pub fn runner(calls: RunnerCalls) -> Result<()> {
    apply(&runner_filters(calls)?)
}

/// The same filters as the bytes that the kernel reads, for a program that applies them.
pub fn runner_bytes(calls: RunnerCalls) -> Result<Vec<Vec<u8>>> {
    Ok(runner_filters(calls)?.iter().map(program::bytes).collect())
}

fn runner_filters(calls: RunnerCalls) -> Result<Vec<BpfProgram>> {
    let mut list = refused(calls.length_guarded)?;
    if calls.network {
        only_internet(&mut list)?;
    } else {
        // One of a pair of sockets could still take a name that every program can reach.
        list.refuse(&[libc::SYS_socket, libc::SYS_bind]);
    }
    list.refuse_when(libc::SYS_clone, any_bit(0, NAMESPACES)?);
    open_files_are_shown(&mut list)?;
    refuse_lending(&mut list)?;
    if calls.own_files {
        allow_own_files(&mut list)?;
    }
    list.programs()
}

/// Of sockets those of TCP and UDP alone. A program that tries another protocol hears that this kernel has none, and
/// falls back, as Go does from MPTCP.
fn only_internet(list: &mut DenyList) -> Result<()> {
    let others = [unless(0, INTERNET.map(only))?, unless(1, INTERNET_KINDS.map(only))?].concat();
    list.refuse_when(libc::SYS_socket, others);
    list.answer_also(libc::EPROTONOSUPPORT, libc::SYS_socket, unless(2, PROTOCOLS.map(only))?);
    Ok(())
}

/// No file is made that lends its user or group to the programs that run it.
fn refuse_lending(list: &mut DenyList) -> Result<()> {
    for (call, mode) in MAKING {
        list.refuse_when(*call, any_bit(*mode, LENDING_MODES)?);
    }
    // Without one of these flags the call has no mode: the argument is whatever lay there.
    let makes = [libc::O_CREAT, O_TMPFILE].map(|flag| u64::from(flag.cast_unsigned()));
    let lends = [libc::S_ISUID, libc::S_ISGID].map(u64::from);
    for (call, flags) in OPENING {
        let both = |makes, lends| {
            when_all(&[(*flags, Op::MaskedEq(makes), makes), (*flags + 1, Op::MaskedEq(lends), lends)])
        };
        let rules = makes.into_iter().flat_map(|makes| lends.map(|lends| both(makes, lends)));
        list.refuse_also(*call, rules.collect::<Result<_>>()?);
    }
    // The mode of `openat2` lies in memory, where a filter cannot see it; programs fall back to `openat`.
    list.answer(libc::ENOSYS, &[libc::SYS_openat2]);
    Ok(())
}

/// The bits of a mode that lend a user or group.
const LENDING_MODES: u32 = 0o6000;
/// The one bit of `O_TMPFILE` that no other flag has.
const O_TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// Allows what git, package managers, archivers and `cp -p` need. Calls on attributes are answered as by a file system
/// that has none.
fn allow_own_files(list: &mut DenyList) -> Result<()> {
    for (call, mode) in MODES {
        list.refuse_when(*call, any_bit(*mode, SPECIAL_MODES)?);
    }
    for call in TIMES {
        list.allow(*call);
    }
    list.answer(libc::EOPNOTSUPP, ATTRIBUTES);
    Ok(())
}

/// The bits of a mode that mean more than who may read, write and run.
const SPECIAL_MODES: u32 = 0o7000;

/// Allows the calling process, a reader, the calls that a reader needs, and nothing else.
pub fn reader() -> Result<()> {
    apply(&[reader_filter(std::process::id())?])
}

fn reader_filter(itself: u32) -> Result<BpfProgram> {
    let mut list = AllowList::default();
    list.allow(READER);
    list.allow(READER_OLD);
    for (call, flags) in OPENING {
        let whole = when(*flags, Op::MaskedEq(libc::O_TRUNC as u64), 0)?;
        list.allow_when(*call, vec![whole]);
    }
    list.allow_when(libc::SYS_fcntl, one_of(1, &READER_FCNTLS)?);
    list.allow_when(libc::SYS_ioctl, one_of(1, &[FIONBIO])?);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        list.allow_when(call, vec![when(2, Op::MaskedEq(libc::PROT_EXEC as u64), 0)?]);
    }
    // The reader may abort.
    list.allow_when(libc::SYS_tgkill, vec![when(0, Op::Eq, u64::from(itself))?]);
    list.program()
}

/// Refuses the calling process what a plugin's process may not do. It has the internet and threads, and otherwise what
/// a runner has. It signals no process but itself, and stays bound to the life of the runtime.
pub fn plugin(length_guarded: bool) -> Result<()> {
    apply(&plugin_filters(std::process::id(), length_guarded)?)
}

fn plugin_filters(itself: u32, length_guarded: bool) -> Result<Vec<BpfProgram>> {
    let mut list = refused(length_guarded)?;
    list.refuse(STARTING);
    list.refuse_when(libc::SYS_clone, vec![when(0, Op::MaskedEq(CLONE_THREAD), 0)?]);
    open_files_are_shown(&mut list)?;
    only_internet(&mut list)?;
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        list.refuse_when(call, vec![when(0, Op::Ne, u64::from(itself))?]);
    }
    list.refuse(&[libc::SYS_tkill, libc::SYS_pidfd_send_signal]);
    list.refuse_also(libc::SYS_fcntl, one_of(1, &FCNTLS_THAT_SIGNAL)?);
    list.refuse_also(libc::SYS_prctl, vec![when(0, Op::Eq, libc::PR_SET_PDEATHSIG as u64)?]);
    list.programs()
}

const CLONE_THREAD: u64 = libc::CLONE_THREAD as u64;
const CLONE_FILES: u64 = libc::CLONE_FILES as u64;
const IOPRIO_WHO_PROCESS: u32 = 1;
/// The command that says whether reading waits: the same number on every architecture.
const FIONBIO: i32 = 0x5421;

/// The calls that neither a runner nor a plugin may make.
fn refused(length_guarded: bool) -> Result<DenyList> {
    let mut list = DenyList::default();
    REFUSED.into_iter().for_each(|calls| list.refuse(calls));
    list.answer(libc::ENOSYS, ABSENT);
    only_oneself(&mut list)?;
    list.refuse_when(libc::SYS_fcntl, unless(1, FCNTLS)?);
    // The answer of a file system that does not know the command.
    list.answer_when(libc::ENOTTY, libc::SYS_ioctl, unless(1, IOCTLS)?);
    let local = unless(0, [only(libc::AF_UNIX)])?;
    list.refuse_when(libc::SYS_socketpair, [local, unless(1, PAIRS.map(only))?].concat());
    // Huge pages belong to the whole machine, and count as no memory of a process. Answered as where there are none.
    let huge = |argument, flag: u64| Ok::<_, Error>(vec![when(argument, Op::MaskedEq(flag), flag)?]);
    list.answer_when(libc::ENOMEM, libc::SYS_mmap, huge(3, libc::MAP_HUGETLB as u64)?);
    list.answer_when(libc::ENOMEM, libc::SYS_memfd_create, huge(1, u64::from(libc::MFD_HUGETLB))?);
    // Answered as done: the kernel, too, gives smaller buffers than are asked for without saying so.
    let fixed = FIXED_OPTIONS.map(|option| {
        when_all(&[(1, Op::Eq, libc::SOL_SOCKET as u64), (2, Op::Eq, u64::from(option.cast_unsigned()))])
    });
    list.answer_when(DONE, libc::SYS_setsockopt, fixed.into_iter().collect::<Result<_>>()?);
    if !length_guarded {
        no_truncation(&mut list)?;
    }
    Ok(list)
}

/// The answer of a call that succeeded.
const DONE: i32 = 0;

/// Keeps all threads of a process on the same open files, which are those that the warden looks at: a thread with a
/// table of its own would hold files that are counted nowhere.
fn open_files_are_shown(list: &mut DenyList) -> Result<()> {
    let own_table = when(0, Op::MaskedEq(CLONE_THREAD | CLONE_FILES), CLONE_THREAD)?;
    list.refuse_also(libc::SYS_clone, vec![own_table]);
    list.answer_when(libc::ENOSYS, libc::SYS_close_range, any_bit(2, libc::CLOSE_RANGE_UNSHARE)?);
    Ok(())
}

/// The kernel lets any process of a user change any other one, the runtime included: its limits, how it is scheduled,
/// and which processor it shares. Here a process may change only itself.
fn only_oneself(list: &mut DenyList) -> Result<()> {
    let of_another = |argument| when(argument, Op::Ne, 0);
    // The mark of a run is a limit of its own.
    let mark = u64::from(libc::RLIMIT_LOCKS);
    list.refuse_when(libc::SYS_prlimit64, vec![of_another(0)?, when_with_pointer(1, mark, 2)?]);
    list.refuse_when(libc::SYS_setrlimit, vec![when(0, Op::Eq, mark)?]);
    for call in SCHEDULING {
        list.refuse_when(*call, vec![of_another(0)?]);
    }
    for (call, process) in
        [(libc::SYS_setpriority, libc::PRIO_PROCESS), (libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS)]
    {
        list.refuse_when(call, [unless(0, [process..=process])?, vec![of_another(1)?]].concat());
    }
    list.refuse_when(libc::SYS_prctl, vec![when(0, Op::Eq, libc::PR_SCHED_CORE as u64)?]);
    Ok(())
}

/// Where Landlock does not guard the length of files, a file can be emptied by its path, or by opening it for reading,
/// or for neither reading nor writing. The flags of `openat2` lie in memory, where a filter cannot see them; programs
/// fall back to `openat`.
fn no_truncation(list: &mut DenyList) -> Result<()> {
    list.refuse(&[libc::SYS_truncate]);
    list.answer(libc::ENOSYS, &[libc::SYS_openat2]);
    let mode_and_length = (libc::O_ACCMODE | libc::O_TRUNC) as u64;
    let emptied = |mode: i32| (Op::MaskedEq(mode_and_length), (mode | libc::O_TRUNC) as u64);
    for (call, flags) in OPENING {
        let [read, neither] = [libc::O_RDONLY, libc::O_ACCMODE].map(emptied);
        list.refuse_when(*call, vec![when(*flags, read.0, read.1)?, when(*flags, neither.0, neither.1)?]);
    }
    Ok(())
}

fn apply(filters: &[BpfProgram]) -> Result<()> {
    filters.iter().try_for_each(|filter| apply_filter(filter).map_err(Error::other))
}

//! The answers of the filters, as tables. The programs are run here as the kernel runs them; other tests try with real
//! processes that the kernel takes them, and that they do what they say.

use super::*;
use libc::c_long;

/// The kernel's answer: the strictest of all programs' answers, `0` for a call that is made.
fn answer(filters: &[BpfProgram], call: c_long, arguments: &[u64]) -> i32 {
    let results: Vec<u32> = filters.iter().map(|filter| run(filter, call as u32, arguments)).collect();
    let errors = results.iter().filter(|result| **result != libc::SECCOMP_RET_ALLOW);
    errors.fold(MADE, |_, result| {
        assert_eq!(result & libc::SECCOMP_RET_ACTION_FULL, libc::SECCOMP_RET_ERRNO, "call {call}");
        match (result & libc::SECCOMP_RET_DATA) as i32 {
            0 => SAID_TO_BE_DONE,
            errno => errno,
        }
    })
}

fn run(filter: &BpfProgram, call: u32, arguments: &[u64]) -> u32 {
    let own = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
    run_as(own, filter, call, arguments)
}

fn run_as(architecture: u32, filter: &BpfProgram, call: u32, arguments: &[u64]) -> u32 {
    use libc::*;
    let word = |offset: u32| match offset {
        0 => call,
        4 => architecture,
        _ => {
            let argument = arguments.get((offset as usize - 16) / 8).copied().unwrap_or(0);
            (argument >> if offset.is_multiple_of(8) { 0 } else { 32 }) as u32
        }
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let step = &filter[at];
        at += 1;
        let code = u32::from(step.code);
        let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
        match code {
            _ if code == BPF_LD | BPF_W | BPF_ABS => value = word(step.k),
            _ if code == BPF_ALU | BPF_AND | BPF_K => value &= step.k,
            _ if code == BPF_JMP | BPF_JA => at += step.k as usize,
            _ if code == BPF_JMP | BPF_JEQ | BPF_K => at += jump(value == step.k),
            _ if code == BPF_JMP | BPF_JGT | BPF_K => at += jump(value > step.k),
            _ if code == BPF_JMP | BPF_JGE | BPF_K => at += jump(value >= step.k),
            _ if code == BPF_RET | BPF_K => return step.k,
            other => panic!("no step of a filter: {other:#x}"),
        }
    }
}

const ITSELF: u32 = 4711;
const NOT_IMPLEMENTED: i32 = libc::ENOSYS;
const NOT_PERMITTED: i32 = libc::EPERM;
const UNKNOWN_COMMAND: i32 = libc::ENOTTY;
const NO_PROTOCOL: i32 = libc::EPROTONOSUPPORT;
const MADE: i32 = 0;
const SAID_TO_BE_DONE: i32 = -2;

fn of_runner(network: bool) -> Vec<BpfProgram> {
    runner_filters(RunnerCalls { network, length_guarded: true, own_files: false }).unwrap()
}

fn of_plugin() -> Vec<BpfProgram> {
    plugin_filters(ITSELF, true).unwrap()
}

fn of_reader() -> Vec<BpfProgram> {
    vec![reader_filter(ITSELF).unwrap()]
}

/// A negative number as the kernel gets it.
const fn minus(number: i64) -> u64 {
    number.cast_unsigned()
}

/// The calls to which runners and plugins get the same answer.
const BOTH: &[(c_long, &[u64], i32)] = &[
    // Scheduling: a process may set its own, not another's, nor that of all processes of a user or a group.
    (libc::SYS_setpriority, &[0, 0, 19], MADE),
    (libc::SYS_setpriority, &[0, 1, 19], NOT_PERMITTED),
    (libc::SYS_setpriority, &[0, minus(-1), 19], NOT_PERMITTED),
    (libc::SYS_setpriority, &[1, 0, 19], NOT_PERMITTED),
    (libc::SYS_setpriority, &[2, 0, 19], NOT_PERMITTED),
    // The kernel looks at the lower half only.
    (libc::SYS_setpriority, &[1 << 32, 1 << 32, 19], MADE),
    (libc::SYS_setpriority, &[(1 << 32) | 2, 0, 19], NOT_PERMITTED),
    (libc::SYS_ioprio_set, &[1, 0, 3 << 13], MADE),
    (libc::SYS_ioprio_set, &[1, 7, 3 << 13], NOT_PERMITTED),
    (libc::SYS_ioprio_set, &[2, 0, 3 << 13], NOT_PERMITTED),
    (libc::SYS_ioprio_set, &[3, 0, 3 << 13], NOT_PERMITTED),
    (libc::SYS_sched_setscheduler, &[0], MADE),
    (libc::SYS_sched_setscheduler, &[7], NOT_PERMITTED),
    (libc::SYS_sched_setparam, &[7], NOT_PERMITTED),
    (libc::SYS_sched_setattr, &[7], NOT_PERMITTED),
    (libc::SYS_sched_setaffinity, &[0], MADE),
    (libc::SYS_sched_setaffinity, &[7], NOT_PERMITTED),
    (libc::SYS_sched_getaffinity, &[7], MADE),
    (libc::SYS_getpriority, &[2, 0], MADE),
    (libc::SYS_migrate_pages, &[7], NOT_PERMITTED),
    (libc::SYS_move_pages, &[7], NOT_PERMITTED),
    (libc::SYS_prctl, &[62], NOT_PERMITTED), // PR_SCHED_CORE
    (libc::SYS_prctl, &[15], MADE),          // PR_SET_NAME
    (libc::SYS_prlimit64, &[0, 7], MADE),
    (libc::SYS_prlimit64, &[7, 7], NOT_PERMITTED),
    // Objects of the kernel that no limit counts.
    (libc::SYS_shmget, &[], NOT_PERMITTED),
    (libc::SYS_msgsnd, &[], NOT_PERMITTED),
    (libc::SYS_semctl, &[], NOT_PERMITTED),
    (libc::SYS_mq_open, &[], NOT_PERMITTED),
    (libc::SYS_memfd_secret, &[], NOT_IMPLEMENTED),
    (libc::SYS_io_setup, &[], NOT_IMPLEMENTED),
    (libc::SYS_memfd_create, &[0, 3], MADE),
    (libc::SYS_memfd_create, &[0, 4 | 1], libc::ENOMEM), // MFD_HUGETLB
    (libc::SYS_mmap, &[0, 4096, 3, 0x22], MADE),
    (libc::SYS_mmap, &[0, 4096, 3, 0x40022], libc::ENOMEM), // MAP_HUGETLB
    // Pairs of sockets: stream and seqpacket of AF_UNIX.
    (libc::SYS_socketpair, &[1, 1], MADE),
    (libc::SYS_socketpair, &[1, 1 | 0o2004000], MADE),
    (libc::SYS_socketpair, &[1, 5 | 0o2000000], MADE),
    (libc::SYS_socketpair, &[1, 5 | 0o4000], MADE),
    (libc::SYS_socketpair, &[1, 5 | 0o2004000], MADE),
    (libc::SYS_socketpair, &[1, 2], NOT_PERMITTED),
    (libc::SYS_socketpair, &[1, 3], NOT_PERMITTED),
    (libc::SYS_socketpair, &[1, 3 | 0o2000000], NOT_PERMITTED),
    (libc::SYS_socketpair, &[1, 0], NOT_PERMITTED),
    (libc::SYS_socketpair, &[1, 11], NOT_PERMITTED),
    (libc::SYS_socketpair, &[30, 1], NOT_PERMITTED), // TIPC
    (libc::SYS_socket, &[1, 1], NOT_PERMITTED),
    (libc::SYS_socket, &[16, 3], NOT_PERMITTED), // netlink
    (libc::SYS_socket, &[40, 1], NOT_PERMITTED), // vsock
    // Attributes, in every spelling.
    (libc::SYS_setxattr, &[], NOT_PERMITTED),
    (463, &[], NOT_PERMITTED),
    (466, &[], NOT_PERMITTED),
    (469, &[], NOT_PERMITTED),
    (468, &[], MADE),                                      // file_getattr
    (libc::SYS_ioctl, &[3, 0x4008_6602], UNKNOWN_COMMAND), // FS_IOC_SETFLAGS
    (libc::SYS_ioctl, &[3, 0x4004_6602], UNKNOWN_COMMAND), // the same of 32-bit programs
    (libc::SYS_ioctl, &[3, (7 << 32) | 0x4008_6602], UNKNOWN_COMMAND),
    (libc::SYS_ioctl, &[3, 0x401c_5820], UNKNOWN_COMMAND), // FS_IOC_FSSETXATTR
    (libc::SYS_ioctl, &[3, 0x4008_7602], UNKNOWN_COMMAND), // FS_IOC_SETVERSION
    (libc::SYS_ioctl, &[3, 0x4004_7602], UNKNOWN_COMMAND),
    (libc::SYS_ioctl, &[3, 0x4008_6604], UNKNOWN_COMMAND), // EXT4_IOC_SETVERSION
    (libc::SYS_ioctl, &[3, 0x800c_6613], UNKNOWN_COMMAND), // FS_IOC_SET_ENCRYPTION_POLICY
    (libc::SYS_ioctl, &[3, 0x4080_6685], UNKNOWN_COMMAND), // FS_IOC_ENABLE_VERITY
    (libc::SYS_ioctl, &[3, 0x5000_9401], UNKNOWN_COMMAND), // BTRFS_IOC_SNAP_CREATE
    (libc::SYS_ioctl, &[3, 0x5412], UNKNOWN_COMMAND),      // TIOCSTI
    (libc::SYS_ioctl, &[3, 0x541c], UNKNOWN_COMMAND),      // TIOCLINUX
    (libc::SYS_ioctl, &[3, 0x8901], UNKNOWN_COMMAND),      // FIOSETOWN
    (libc::SYS_ioctl, &[3, 0x8902], UNKNOWN_COMMAND),      // SIOCSPGRP
    (libc::SYS_ioctl, &[3, 0x5401], MADE),                 // TCGETS
    (libc::SYS_ioctl, &[3, 0x802c_542a], MADE),            // TCGETS2
    (libc::SYS_ioctl, &[3, 0x5413], MADE),                 // TIOCGWINSZ
    (libc::SYS_ioctl, &[3, 0x541b], MADE),                 // FIONREAD
    (libc::SYS_ioctl, &[3, 0x5421], MADE),                 // FIONBIO
    (libc::SYS_ioctl, &[3, 0x5451], MADE),                 // FIOCLEX
    (libc::SYS_ioctl, &[3, 0x8912], MADE),                 // SIOCGIFCONF
    (libc::SYS_ioctl, &[3, 0x4004_9409], MADE),            // FICLONE
    (libc::SYS_ioctl, &[3, 0x8008_6601], MADE),            // FS_IOC_GETFLAGS
    // Leases, also in the spellings of later kernels, and watching folders.
    (libc::SYS_fcntl, &[3, 1024], NOT_PERMITTED),
    (libc::SYS_fcntl, &[3, 1026], NOT_PERMITTED),
    (libc::SYS_fcntl, &[3, 1040], NOT_PERMITTED),
    (libc::SYS_fcntl, &[3, 6], MADE),
    (libc::SYS_fcntl, &[3, 37], MADE),
    (libc::SYS_fcntl, &[3, 1030], MADE),
    (libc::SYS_fcntl, &[3, 1033], MADE),
    // Processes of others.
    (libc::SYS_ptrace, &[], NOT_PERMITTED),
    (libc::SYS_process_madvise, &[], NOT_PERMITTED),
    (libc::SYS_process_mrelease, &[], NOT_PERMITTED),
    (libc::SYS_kcmp, &[], NOT_PERMITTED),
    (libc::SYS_syslog, &[3], NOT_PERMITTED),
    (467, &[], NOT_PERMITTED), // open_tree_attr
    (libc::SYS_clone3, &[], NOT_IMPLEMENTED),
    // A table of open files that the whole process does not share.
    (libc::SYS_clone, &[0x003d_0f00 & !0x400, 0], NOT_PERMITTED),
    (libc::SYS_clone, &[1 << 42 | 0x0001_0900, 0], NOT_PERMITTED),
    (libc::SYS_close_range, &[3, 9, 4], MADE), // CLOSE_RANGE_CLOEXEC
    (libc::SYS_close_range, &[3, 9, 2], NOT_IMPLEMENTED), // CLOSE_RANGE_UNSHARE
    (libc::SYS_close_range, &[3, 9, 6], NOT_IMPLEMENTED),
    // How much waits in sockets and pipes.
    (libc::SYS_setsockopt, &[3, 1, 7], SAID_TO_BE_DONE), // SO_SNDBUF
    (libc::SYS_setsockopt, &[3, 1 << 32 | 1, 1 << 32 | 8], SAID_TO_BE_DONE),
    (libc::SYS_setsockopt, &[3, 1, 13], SAID_TO_BE_DONE), // SO_LINGER
    (libc::SYS_setsockopt, &[3, 1, 2], MADE),             // SO_REUSEADDR
    (libc::SYS_setsockopt, &[3, 6, 7], MADE),             // of TCP
    (libc::SYS_vmsplice, &[], NOT_IMPLEMENTED),
    (libc::SYS_splice, &[], MADE),
    // Numbers that the lists do not know.
    (470, &[], NOT_IMPLEMENTED),
    (900, &[], NOT_IMPLEMENTED),
    (400, &[], NOT_IMPLEMENTED),
    (423, &[], NOT_IMPLEMENTED),
    (424, &[0, 0], MADE_BY_RUNNER),
    (0x4000_0000, &[], NOT_IMPLEMENTED),
    (0x4000_0000 | 520, &[], NOT_IMPLEMENTED), // x32's own execve
    (0xffff_ffff, &[], NOT_IMPLEMENTED),
    (libc::SYS_read, &[], MADE),
    (libc::SYS_futex, &[], MADE),
    (libc::SYS_truncate, &[], MADE),
];
/// The first of the numbers above a gap, `pidfd_send_signal`: a plugin signals no process but itself.
const MADE_BY_RUNNER: i32 = -1;

#[test]
fn runners_and_plugins_are_refused_what_reaches_others() {
    for (who, filters, at_gap) in [
        ("runner", of_runner(false), MADE),
        ("runner with the internet", of_runner(true), MADE),
        ("plugin", of_plugin(), NOT_PERMITTED),
    ] {
        for (call, arguments, want) in BOTH {
            let want = if *want == MADE_BY_RUNNER { at_gap } else { *want };
            assert_eq!(answer(&filters, *call, arguments), want, "{who}: {call} {arguments:x?}");
        }
    }
}

#[test]
fn what_differs_between_runners_and_plugins() {
    let (runner, online, plugin) = (of_runner(false), of_runner(true), of_plugin());
    let thread = 0x003d_0f00; // the flags with which a C library makes threads
    let one = u64::from(ITSELF);
    for (call, arguments, wants) in [
        (libc::SYS_socket, &[2, 1][..], [NOT_PERMITTED, MADE, MADE]),
        (libc::SYS_socket, &[10, 2], [NOT_PERMITTED, MADE, MADE]),
        // Of protocols TCP and UDP, also where they are named.
        (libc::SYS_socket, &[2, 1 | 0o2004000, 6], [NOT_PERMITTED, MADE, MADE]),
        (libc::SYS_socket, &[10, 2 | 0o2000000, 17], [NOT_PERMITTED, MADE, MADE]),
        (libc::SYS_socket, &[2, 1, 262], [NOT_PERMITTED, NO_PROTOCOL, NO_PROTOCOL]), // MPTCP
        (libc::SYS_socket, &[2, 1, 132], [NOT_PERMITTED, NO_PROTOCOL, NO_PROTOCOL]), // SCTP
        (libc::SYS_socket, &[10, 2, 136], [NOT_PERMITTED, NO_PROTOCOL, NO_PROTOCOL]), // UDP-Lite
        (libc::SYS_socket, &[2, 2, 1], [NOT_PERMITTED, NO_PROTOCOL, NO_PROTOCOL]),   // ICMP
        (libc::SYS_socket, &[2, 3, 17], [NOT_PERMITTED; 3]),                         // raw
        (libc::SYS_socket, &[2, 6, 0], [NOT_PERMITTED; 3]),                          // DCCP
        (libc::SYS_socket, &[1 << 32 | 2, 1 << 32 | 5, 1 << 32], [NOT_PERMITTED; 3]), // SEQPACKET
        // Without an internet socket it could only take names of the machine's abstract sockets.
        (libc::SYS_bind, &[3], [NOT_PERMITTED, MADE, MADE]),
        (libc::SYS_clone, &[thread], [MADE, MADE, MADE]),
        (libc::SYS_clone, &[17], [MADE, MADE, NOT_PERMITTED]),
        (libc::SYS_clone, &[0x0002_0000 | 17], [NOT_PERMITTED; 3]), // a namespace of mounts
        (libc::SYS_clone, &[0x0200_0000 | 17], [NOT_PERMITTED; 3]), // of control groups
        (libc::SYS_clone, &[0x0400_0000 | 17], [NOT_PERMITTED; 3]), // of host names
        (libc::SYS_clone, &[0x0800_0000 | 17], [NOT_PERMITTED; 3]), // of SysV objects
        (libc::SYS_clone, &[0x1000_0000 | 17], [NOT_PERMITTED; 3]), // of users
        (libc::SYS_clone, &[0x2000_0000 | 17], [NOT_PERMITTED; 3]), // of processes
        (libc::SYS_clone, &[0x4000_0000 | 17], [NOT_PERMITTED; 3]), // of networks
        (libc::SYS_execve, &[], [MADE, MADE, NOT_PERMITTED]),
        (libc::SYS_kill, &[one, 9], [MADE, MADE, MADE]),
        (libc::SYS_kill, &[one + 1, 9], [MADE, MADE, NOT_PERMITTED]),
        (libc::SYS_kill, &[minus(-1), 9], [MADE, MADE, NOT_PERMITTED]),
        (libc::SYS_tgkill, &[one, one + 3, 6], [MADE; 3]),
        (libc::SYS_tkill, &[one, 9], [MADE, MADE, NOT_PERMITTED]),
        (libc::SYS_prctl, &[1, 0], [MADE, MADE, NOT_PERMITTED]), // PR_SET_PDEATHSIG
        (libc::SYS_fcntl, &[3, 8], [MADE, MADE, NOT_PERMITTED]), // F_SETOWN
        (libc::SYS_fcntl, &[3, 10], [MADE, MADE, NOT_PERMITTED]), // F_SETSIG
        (libc::SYS_fcntl, &[3, 15], [MADE, MADE, NOT_PERMITTED]), // F_SETOWN_EX
    ] {
        for (filters, want) in [&runner, &online, &plugin].into_iter().zip(wants) {
            assert_eq!(answer(filters, call, arguments), want, "{call} {arguments:x?}");
        }
    }
}

#[test]
fn a_reader_calls_what_is_on_its_list_and_nothing_else() {
    let filters = of_reader();
    let one = u64::from(ITSELF);
    for (call, arguments, made) in [
        (libc::SYS_pread64, &[][..], true),
        (libc::SYS_openat, &[0, 0, 0o2000000], true),
        (libc::SYS_openat, &[0, 0, 0o2001000], false), // O_TRUNC
        (libc::SYS_openat, &[0, 0, 0o1003], false),
        (libc::SYS_fcntl, &[3, 6], true),
        (libc::SYS_fcntl, &[3, 1024], false),
        (libc::SYS_fcntl, &[3, 8], false),
        (libc::SYS_ioctl, &[3, 0x5421], true),
        (libc::SYS_ioctl, &[3, 0x4008_6602], false),
        (libc::SYS_mmap, &[0, 4096, 3], true),
        (libc::SYS_mmap, &[0, 4096, 5], false),
        (libc::SYS_mprotect, &[0, 4096, 4], false),
        (libc::SYS_tgkill, &[one, one, 6], true),
        (libc::SYS_tgkill, &[one + 1, one + 1, 9], false),
        (libc::SYS_kill, &[one, 9], false),
        (libc::SYS_setpriority, &[0, 0, 19], false),
        (libc::SYS_shmget, &[], false),
        (libc::SYS_socketpair, &[1, 1], false),
        (libc::SYS_execve, &[], false),
        (libc::SYS_clone, &[0x003d_0f00], false),
        (libc::SYS_inotify_init1, &[], false),
        (libc::SYS_prctl, &[], false),
        (470, &[], false),
        (0x4000_0000, &[], false),
    ] {
        let want = if made { MADE } else { NOT_IMPLEMENTED };
        assert_eq!(answer(&filters, call, arguments), want, "{call} {arguments:x?}");
    }
}

#[test]
fn a_call_of_another_architecture_ends_the_process() {
    // A call of 32-bit x86, which the kernel serves beside its own.
    let of_another = |filter: &BpfProgram| run_as(0x4000_0003, filter, 20, &[]);
    for filters in [of_runner(true), of_plugin(), of_reader()] {
        let strictest = filters.iter().map(of_another).map(u32::cast_signed).min();
        assert_eq!(strictest, Some(libc::SECCOMP_RET_KILL_PROCESS.cast_signed()));
    }
}

#[test]
fn where_landlock_does_not_guard_the_length_of_files_the_calls_do() {
    let (read, write, neither, empty, at) = (0, 1, 3, 0o1000, libc::SYS_openat);
    for (call, arguments, wants) in [
        (libc::SYS_truncate, &[][..], [MADE, NOT_PERMITTED]),
        (libc::SYS_openat2, &[], [MADE, NOT_IMPLEMENTED]),
        (at, &[0, 0, read], [MADE, MADE]),
        (at, &[0, 0, read | empty], [MADE, NOT_PERMITTED]),
        (at, &[0, 0, neither | empty], [MADE, NOT_PERMITTED]),
        // Landlock asks for the right to write for this one.
        (at, &[0, 0, write | empty | 0o100], [MADE, MADE]),
        (libc::SYS_ftruncate, &[], [MADE, MADE]),
    ] {
        for (length_guarded, want) in [true, false].into_iter().zip(wants) {
            let runner =
                runner_filters(RunnerCalls { network: false, length_guarded, own_files: false }).unwrap();
            let plugin = plugin_filters(ITSELF, length_guarded).unwrap();
            for (who, filters) in [("runner", runner), ("plugin", plugin)] {
                // A runner could make files with this call that lend their user.
                let never = who == "runner" && call == libc::SYS_openat2;
                let want = if never { NOT_IMPLEMENTED } else { want };
                assert_eq!(answer(&filters, call, arguments), want, "{length_guarded} {call} {arguments:?}");
            }
        }
    }
}

#[test]
fn a_runner_changes_its_own_files_where_it_may_and_lends_itself_nowhere() {
    let filters =
        |own_files| runner_filters(RunnerCalls { network: false, length_guarded: true, own_files }).unwrap();
    let (strict, soft) = (filters(false), filters(true));
    let unsupported = libc::EOPNOTSUPP;
    for (call, arguments, wants) in [
        (libc::SYS_fchmod, &[3, 0o755][..], [NOT_PERMITTED, MADE]),
        (libc::SYS_fchmod, &[3, 0o4755], [NOT_PERMITTED; 2]),
        (libc::SYS_fchmod, &[3, 0o2755], [NOT_PERMITTED; 2]),
        (libc::SYS_fchmod, &[3, 0o1755], [NOT_PERMITTED; 2]),
        (libc::SYS_fchmodat, &[3, 0, 0o600], [NOT_PERMITTED, MADE]),
        (libc::SYS_fchmodat, &[3, 0, 0o4600], [NOT_PERMITTED; 2]),
        (452, &[3, 0, 0o600], [NOT_PERMITTED, MADE]), // fchmodat2
        (452, &[3, 0, 0o2600], [NOT_PERMITTED; 2]),
        (libc::SYS_utimensat, &[], [NOT_PERMITTED, MADE]),
        (libc::SYS_fchown, &[], [NOT_PERMITTED; 2]),
        (libc::SYS_setxattr, &[], [NOT_PERMITTED, unsupported]),
        (libc::SYS_fremovexattr, &[], [NOT_PERMITTED, unsupported]),
        (libc::SYS_mkdirat, &[0, 0, 0o777], [MADE; 2]),
        (libc::SYS_mkdirat, &[0, 0, 0o2777], [NOT_PERMITTED; 2]),
        (libc::SYS_openat, &[0, 0, 0o102, 0o644], [MADE; 2]),
        (libc::SYS_openat, &[0, 0, 0o102, 0o4755], [NOT_PERMITTED; 2]),
        (libc::SYS_openat, &[0, 0, 0o20200002, 0o2755], [NOT_PERMITTED; 2]), // O_TMPFILE
        (libc::SYS_openat, &[0, 0, 0o200000, 0o4755], [MADE; 2]),            // it makes no file
    ] {
        for (filters, want) in [&strict, &soft].into_iter().zip(wants) {
            assert_eq!(answer(filters, call, arguments), want, "{call} {arguments:?}");
        }
    }
}

#[test]
fn what_is_said_last_of_a_call_counts_and_more_is_never_less() {
    let made = |list: DenyList| answer(&list.programs().unwrap(), libc::SYS_fcntl, &[3, 8]);
    let mut list = DenyList::default();
    list.refuse(&[libc::SYS_fcntl]);
    list.answer(libc::ENOSYS, &[libc::SYS_fcntl]);
    assert_eq!(made(list), NOT_IMPLEMENTED);
    let mut list = DenyList::default();
    list.refuse(&[libc::SYS_fcntl]);
    list.allow(libc::SYS_fcntl);
    assert_eq!(made(list), MADE);
    let mut list = DenyList::default();
    list.refuse(&[libc::SYS_fcntl]);
    list.refuse_also(libc::SYS_fcntl, one_of(1, &[1]).unwrap());
    assert_eq!(made(list), NOT_PERMITTED, "it was refused whatever its arguments");
}

#[test]
fn a_rule_that_cannot_be_built_is_an_error() {
    // A call has six arguments.
    assert!(when(6, Op::Eq, 0).is_err() && one_of(6, &[1]).is_err() && any_bit(6, 1).is_err());
    assert!(unless(6, [only(1)]).is_err());
}

#[test]
fn a_program_is_handed_on_as_the_kernel_reads_it() {
    let calls = RunnerCalls { network: false, length_guarded: true, own_files: true };
    let programs = runner_filters(calls).unwrap();
    let handed_on = runner_bytes(calls).unwrap();
    assert_eq!(handed_on.len(), programs.len());
    for (bytes, program) in handed_on.iter().zip(&programs) {
        let steps = bytes.chunks(size_of::<libc::sock_filter>());
        assert_eq!(steps.len(), program.len());
        for (bytes, step) in steps.zip(program) {
            let [a, b, jt, jf, k @ ..] = bytes else { panic!("{bytes:?}") };
            let k = u32::from_ne_bytes(k.try_into().unwrap());
            let read = (u16::from_ne_bytes([*a, *b]), *jt, *jf, k);
            assert_eq!(read, (step.code, step.jt, step.jf, step.k));
        }
    }
}

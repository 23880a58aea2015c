//! The system calls, by number.

use libc::c_long;
use std::ops::RangeInclusive;

/// Calls that are refused to runners, readers and plugins, whatever the arguments.
pub const REFUSED: [&[c_long]; 8] =
    [OWNERSHIP, ATTRIBUTES, OTHERS, MOUNTING, KERNEL_OBJECTS, ATTACK_SURFACE, ADMINISTRATION, OLD];

/// Calls that change modes, owners and times, which Landlock does not guard.
const OWNERSHIP: &[c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
];

/// Calls that change attributes, which Landlock does not guard either.
pub const ATTRIBUTES: &[c_long] = &[
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SYS_SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_REMOVEXATTRAT,
    SYS_FILE_SETATTR,
];

/// Calls that change a mode, and which argument is the new one.
#[cfg(target_arch = "x86_64")]
pub const MODES: &[(c_long, u8)] =
    &[(libc::SYS_chmod, 1), (libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (SYS_FCHMODAT2, 2)];
#[cfg(not(target_arch = "x86_64"))]
pub const MODES: &[(c_long, u8)] = &[(libc::SYS_fchmod, 1), (libc::SYS_fchmodat, 2), (SYS_FCHMODAT2, 2)];

/// Calls that change times.
#[cfg(target_arch = "x86_64")]
pub const TIMES: &[c_long] = &[libc::SYS_utimensat, libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
pub const TIMES: &[c_long] = &[libc::SYS_utimensat];

/// Calls that make files and folders, and which argument is the mode. In the calls that open a file ([`OPENING`]) the
/// mode is the argument after the flags.
#[cfg(target_arch = "x86_64")]
pub const MAKING: &[(c_long, u8)] = &[
    (libc::SYS_creat, 1),
    (libc::SYS_mkdir, 1),
    (libc::SYS_mkdirat, 2),
    (libc::SYS_mknod, 1),
    (libc::SYS_mknodat, 2),
];
#[cfg(not(target_arch = "x86_64"))]
pub const MAKING: &[(c_long, u8)] = &[(libc::SYS_mkdirat, 2), (libc::SYS_mknodat, 2)];

/// Calls that look into another process, or change it.
const OTHERS: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
];

/// Calls that make mounts and namespaces.
const MOUNTING: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
];

/// SysV IPC and message queues: memory that no limit counts, that outlives the run, and that a process
/// of the same user can reach.
const KERNEL_OBJECTS: &[c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmdt,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_mq_timedsend,
    libc::SYS_mq_timedreceive,
    libc::SYS_mq_notify,
    libc::SYS_mq_getsetattr,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// Parts of the kernel in which faults are found often, and which programs can do without.
const ATTACK_SURFACE: &[c_long] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
];

/// Calls that only an administrator needs, and the kernel's log.
const ADMINISTRATION: &[c_long] = &[
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    SYS_LSM_SET_SELF_ATTR,
];

/// The same in spellings that only old architectures have.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_uselib,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[c_long] = &[];

/// Calls that answer "not implemented", as on a kernel without them: programs do without. The flags of
/// `clone3` lie in memory, where a filter cannot see them. Secret memory is counted nowhere, nor is the memory that a
/// process lends to a pipe: a byte there holds a whole huge page. Of asynchronous reads and writes the whole machine
/// has a limited number.
pub const ABSENT: &[c_long] =
    &[libc::SYS_clone3, libc::SYS_memfd_secret, libc::SYS_vmsplice, libc::SYS_io_setup];

/// Options of every kind of socket that are left as they are: how much may wait in it, and how long its end waits for
/// the other side. Of a socket that was handed on, that is the time of the program that has it last.
pub const FIXED_OPTIONS: [i32; 3] = [libc::SO_SNDBUF, libc::SO_RCVBUF, libc::SO_LINGER];

/// Calls that set how the processes that the first argument names are scheduled, and where their memory lies. 0 is the
/// caller.
pub const SCHEDULING: &[c_long] = &[
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
];

/// The kinds of socket that `socketpair` makes. A socket of any other kind can be given an address, and then sends to
/// sockets outside.
pub const PAIRS: [i32; 8] = [
    libc::SOCK_STREAM,
    libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
    libc::SOCK_STREAM | libc::SOCK_NONBLOCK,
    libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
    libc::SOCK_SEQPACKET,
    libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC,
    libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK,
    libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
];

/// The `ioctl` commands that are let through: those of terminals, pipes and sockets, except typing into a terminal
/// (`TIOCSTI`, `TIOCLINUX`) and naming a process that is signalled (`FIOSETOWN`, `SIOCSPGRP`); of those of files the
/// ones that only read, or copy into a file that is open for writing. Others change attributes of files that are open
/// for reading (`FS_IOC_SETFLAGS` and its kin, in each file system's own spelling), and no Landlock rule sees them.
pub const IOCTLS: [RangeInclusive<u32>; 12] = [
    0x2..=0x2,                 // FIGETBSZ
    0x5401..=0x5411,           // TCGETS to TIOCOUTQ
    0x5413..=0x541b,           // TIOCGWINSZ to FIONREAD
    0x541d..=0x5460,           // TIOCCONS to FIOQSIZE: with FIONBIO and FIOCLEX
    0x8903..=0x89ff,           // FIOGETOWN and what sockets know
    0x4004_9409..=0x4004_9409, // FICLONE
    0x4020_940d..=0x4020_940d, // FICLONERANGE
    0x8004_6601..=0x8004_6601, // FS_IOC_GETFLAGS of 32-bit programs
    0x8008_6601..=0x8008_6601, // FS_IOC_GETFLAGS
    0x801c_581f..=0x801c_581f, // FS_IOC_FSGETXATTR
    0x802c_542a..=0x802c_542a, // TCGETS2
    0xc020_660b..=0xc020_660b, // FS_IOC_FIEMAP
];

/// The `fcntl` commands that are let through: not leases, which could freeze the runtime's open of a file,
/// in whatever spelling later kernels give them, and not watching folders (`F_NOTIFY`).
pub const FCNTLS: [RangeInclusive<u32>; 3] = [
    0..=1023,    // those of POSIX, and locks
    1025..=1025, // F_GETLEASE
    1027..=1038, // F_DUPFD_QUERY to F_SET_FILE_RW_HINT
];

/// `fcntl` commands that choose which process is signalled, and with what, when something happens on a descriptor.
pub const FCNTLS_THAT_SIGNAL: [i32; 3] = [8, 10, 15]; // F_SETOWN, F_SETSIG, F_SETOWN_EX

/// The families of internet addresses.
pub const INTERNET: [i32; 2] = [libc::AF_INET, libc::AF_INET6];

/// The kinds of internet socket: those of TCP and UDP.
pub const INTERNET_KINDS: [i32; 8] = [
    libc::SOCK_STREAM,
    libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
    libc::SOCK_STREAM | libc::SOCK_NONBLOCK,
    libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
    libc::SOCK_DGRAM,
    libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
    libc::SOCK_DGRAM | libc::SOCK_NONBLOCK,
    libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
];

/// The protocols of internet sockets; 0 is the usual one of the kind. Faults of the kernel are found often in the others
/// (SCTP, DCCP, MPTCP, UDP-Lite, ICMP).
pub const PROTOCOLS: [i32; 3] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];

/// Flags of `clone` that make namespaces.
pub const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP) as u32;

/// Calls that open a file by its name, and which of their arguments has the flags.
#[cfg(target_arch = "x86_64")]
pub const OPENING: &[(c_long, u8)] = &[(libc::SYS_openat, 2), (libc::SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
pub const OPENING: &[(c_long, u8)] = &[(libc::SYS_openat, 2)];

/// The highest call that these lists know.
pub const HIGHEST: u32 = SYS_FILE_SETATTR as u32;
/// The numbers below it that no kernel had given to a call.
pub const FREE: RangeInclusive<u32> = if cfg!(target_arch = "x86_64") { 337..=423 } else { 295..=423 };

/// Calls that start processes and programs.
#[cfg(target_arch = "x86_64")]
pub const STARTING: &[c_long] =
    &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_clone, libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
pub const STARTING: &[c_long] = &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_clone];

/// The calls of a reader, whatever the arguments: on its files, on the sockets it has, memory, time, and ending itself.
/// Found by watching readers work; added are the calls that the C library takes in their place.
pub const READER: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fdatasync,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_ppoll,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
];

/// The same in spellings that only old architectures have.
#[cfg(target_arch = "x86_64")]
pub const READER_OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
pub const READER_OLD: &[c_long] = &[];

/// The `fcntl` commands of a reader: flags of its descriptors, copies of them, and SQLite's locks.
pub const READER_FCNTLS: [i32; 8] = [
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETLK,
    libc::F_SETLK,
    libc::F_SETLKW,
    libc::F_DUPFD_CLOEXEC,
];

// Newer than the `libc` crate's table on some targets: the same number everywhere.
const SYS_FCHMODAT2: c_long = 452;
const SYS_LSM_SET_SELF_ATTR: c_long = 460;
const SYS_SETXATTRAT: c_long = 463;
const SYS_REMOVEXATTRAT: c_long = 466;
const SYS_OPEN_TREE_ATTR: c_long = 467;
const SYS_FILE_SETATTR: c_long = 469;

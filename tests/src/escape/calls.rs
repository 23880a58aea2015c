//! Attempts by calls that no rule for files sees: on how others are scheduled, on objects of the kernel,
//! on attributes.

use crate::{answer, pid};
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Calls that are newer than the table of the `libc` crate: the same number everywhere.
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const FILE_SETATTR: i64 = 469;
/// Attributes of a file, as `chattr` sets them.
const FS_IOC_GETFLAGS: u64 = 0x8008_6601;
const FS_IOC_SETFLAGS: u64 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u64 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;
const IDLE_IO: i64 = 3 << 13;
const F_SETSIG: i32 = 10;

pub fn attempt(what: &str, on: &str) -> Result<()> {
    match what {
        "renice" => call(libc::SYS_setpriority, [i64::from(libc::PRIO_PROCESS), number(on)?, 19, 0, 0]),
        // A group of its own: what is refused is the kind of target.
        "renice-group" => {
            let _ = rustix::process::setpgid(None, None);
            call(libc::SYS_setpriority, [i64::from(libc::PRIO_PGRP), number(on)?, 19, 0, 0])
        }
        "idle-class" => {
            let none = libc::sched_param { sched_priority: 0 };
            // SAFETY: it reads the parameters that it is given.
            answer(unsafe { libc::sched_setscheduler(number(on)? as i32, libc::SCHED_IDLE, &none) })
        }
        "one-processor" => {
            // SAFETY: a set of processors is bits; the call reads it.
            answer(unsafe {
                let mut first: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(0, &mut first);
                libc::sched_setaffinity(number(on)? as i32, size_of::<libc::cpu_set_t>(), &first)
            })
        }
        "idle-io" => call(libc::SYS_ioprio_set, [1, number(on)?, IDLE_IO, 0, 0]),
        "shared-memory" => shared_memory(number(on)? as i32),
        // With the flags `IPC_CREAT | 0600`, and removed at once.
        "new-shared-memory" => made(libc::SYS_shmget, [0, 4096, 0o1600, 0, 0], libc::SYS_shmctl, 1),
        "new-messages" => made(libc::SYS_msgget, [0, 0o1600, 0, 0, 0], libc::SYS_msgctl, 1),
        "new-semaphores" => made(libc::SYS_semget, [0, 1, 0o1600, 0, 0], libc::SYS_semctl, 2),
        "message-queue" => message_queue(),
        "own-files-of-a-thread" => own_files_of_a_thread(),
        "own-files-by-a-range" => call(libc::SYS_close_range, [4000, 4000, 2, 0, 0]),
        "lend-memory" => lend_memory(),
        "large-buffer" => large_buffer(),
        "wait-at-the-end" => wait_at_the_end(),
        // The family, the kind and the protocol.
        "socket" => {
            let mut numbers = on.split(' ').map(number);
            let [family, kind, protocol] = std::array::from_fn(|_| numbers.next().unwrap_or(Ok(0)));
            result(libc::SYS_socket, [family?, kind?, protocol?, 0, 0, 0]).map(drop)
        }
        "many-timers" => (0..number(on)?).try_for_each(|_| timer()),
        "raw-pair" => raw_pair(on),
        "new-xattr" => {
            let value = [b"x".as_ptr() as u64, 1];
            let (at, value) = (libc::AT_FDCWD.into(), value.as_ptr() as i64);
            by_path(on, |path| sixth(SETXATTRAT, [at, path, 0, XATTR.as_ptr() as i64, value, 16]))
        }
        // That it is not there is heard only from a call that is made.
        "no-xattr" => by_path(on, |path| {
            call(REMOVEXATTRAT, [libc::AT_FDCWD.into(), path, 0, XATTR.as_ptr() as i64, 0])
        })
        .or_else(|error| if error.raw_os_error() == Some(libc::ENODATA) { Ok(()) } else { Err(error) }),
        "new-attributes" => {
            let none = [0_u64; 3];
            let set = |path| call(FILE_SETATTR, [libc::AT_FDCWD.into(), path, none.as_ptr() as i64, 24, 0]);
            by_path(on, set)
        }
        "flags" => same_again(on, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS),
        "project" => same_again(on, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR),
        "signal-by-file" => signal_by_file(on),
        "hold-in-flight" => hold_in_flight(on),
        other => Err(Error::other(format!("there is no attempt `{other}`"))),
    }
}

const XATTR: &std::ffi::CStr = c"user.vestibule";

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(Error::other)
}

fn call(number: i64, arguments: [i64; 5]) -> Result<()> {
    let [a, b, c, d, e] = arguments;
    sixth(number, [a, b, c, d, e, 0])
}

fn sixth(number: i64, [a, b, c, d, e, f]: [i64; 6]) -> Result<()> {
    result(number, [a, b, c, d, e, f]).map(drop)
}

fn result(number: i64, [a, b, c, d, e, f]: [i64; 6]) -> Result<i64> {
    // SAFETY: what the arguments point at lives as long as the call.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

fn by_path(path: &str, with: impl Fn(i64) -> Result<()>) -> Result<()> {
    let path = std::ffi::CString::new(std::ffi::OsStr::new(path).as_bytes())?;
    with(path.as_ptr() as i64)
}

/// Makes an object of SysV IPC, and removes it: `IPC_RMID` is this argument of its control call.
fn made(make: i64, [a, b, c, d, e]: [i64; 5], control: i64, command_at: usize) -> Result<()> {
    let id = result(make, [a, b, c, d, e, 0])?;
    let mut arguments = [id, 0, 0, 0, 0];
    arguments[command_at] = libc::IPC_RMID.into();
    call(control, arguments)
}

/// Reads and writes a segment that is there, and not ours.
fn shared_memory(id: i32) -> Result<()> {
    // SAFETY: the kernel chooses the address; the segment has at least one byte.
    unsafe {
        let memory = libc::shmat(id, std::ptr::null(), 0).cast::<u8>();
        if memory as isize == -1 {
            return Err(Error::last_os_error());
        }
        memory.write(memory.read().wrapping_add(1));
        answer(libc::shmdt(memory.cast()))
    }
}

fn message_queue() -> Result<()> {
    let name = std::ffi::CString::new(format!("vestibule-{}", std::process::id()))?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    call(libc::SYS_mq_open, [name.as_ptr() as i64, flags.into(), 0o600, 0, 0])?;
    call(libc::SYS_mq_unlink, [name.as_ptr() as i64, 0, 0, 0, 0])
}

/// One timer more, of those that the user has.
fn timer() -> Result<()> {
    // SAFETY: both are numbers, of which zero is one; the call reads the first and writes the second.
    unsafe {
        let mut quiet: libc::sigevent = std::mem::zeroed();
        quiet.sigev_notify = libc::SIGEV_NONE;
        let mut made: libc::timer_t = std::mem::zeroed();
        answer(libc::timer_create(libc::CLOCK_MONOTONIC, &mut quiet, &mut made))
    }
}

/// A raw socket of a pair is one for datagrams: it sends to any that it can name.
fn raw_pair(to: &str) -> Result<()> {
    let mut pair = [0; 2];
    // SAFETY: it writes two numbers, which are descriptors of ours then.
    let ours = unsafe {
        answer(libc::socketpair(libc::AF_UNIX, libc::SOCK_RAW, 0, pair.as_mut_ptr()))?;
        pair.map(|fd| OwnedFd::from_raw_fd(fd))
    };
    let to = rustix::net::SocketAddrUnix::new(to)?;
    Ok(rustix::net::sendto(&ours[0], b"x", rustix::net::SendFlags::empty(), &to).map(drop)?)
}

/// Reads what a command reads, and sets it as it is.
fn same_again(on: &str, get: u64, set: u64) -> Result<()> {
    let file = File::open(on)?;
    let mut held = [0_u64; 8];
    for command in [get, set] {
        // SAFETY: both commands read or write at most 28 bytes.
        answer(unsafe { libc::ioctl(file.as_raw_fd(), command, held.as_mut_ptr()) })?;
    }
    Ok(())
}

/// Lets a descriptor signal another process, and makes it do so.
fn signal_by_file(on: &str) -> Result<()> {
    let (from, to) = std::io::pipe()?;
    // A stat that cannot be read says nothing.
    let gone = || std::fs::read_to_string(format!("/proc/{on}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    for (what, value) in [
        (libc::F_SETOWN, pid(on)?.as_raw_nonzero().get()),
        (F_SETSIG, libc::SIGKILL),
        (libc::F_SETFL, libc::O_ASYNC),
    ] {
        // SAFETY: it takes numbers only.
        answer(unsafe { libc::fcntl(from.as_raw_fd(), what, value) })?;
    }
    drop(to);
    // A killed process ends when it has the processor next: on a busy machine that takes a while.
    for _ in 0..10_000 {
        if gone() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(Error::other("the process lives on"))
}

/// Sends itself as many descriptors as its user may have on the way, receives none, and says so in a file.
fn hold_in_flight(told: &str) -> Result<()> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    const AT_ONCE: usize = 250;
    let mut pairs = Vec::new();
    loop {
        let (from, to) = std::os::unix::net::UnixStream::pair()?;
        let sent = loop {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            let many = [rustix::stdio::stdin(); AT_ONCE];
            beside.push(SendAncillaryMessage::ScmRights(&many));
            let byte = [std::io::IoSlice::new(b"x")];
            if let Err(error) = sendmsg(&from, &byte, &mut beside, SendFlags::DONTWAIT) {
                break error;
            }
        };
        pairs.push((from, to));
        match sent {
            rustix::io::Errno::AGAIN => {}
            rustix::io::Errno::TOOMANYREFS => break,
            other => return Err(other.into()),
        }
    }
    std::fs::write(told, "x")?;
    std::thread::sleep(std::time::Duration::from_secs(60));
    Ok(())
}

/// A thread whose open files are not those that the kernel shows of the process. It ends at once.
fn own_files_of_a_thread() -> Result<()> {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it ends this thread alone.
        unsafe { libc::syscall(libc::SYS_exit, 0) as libc::c_int }
    }
    let flags = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    let stack: &'static mut [u128] = vec![0; 4096].leak();
    // SAFETY: the stack is never freed, and begins at its end.
    let made = unsafe { libc::clone(end, stack.as_mut_ptr_range().end.cast(), flags, std::ptr::null_mut()) };
    if made < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// A pipe that holds memory of this process's: of a huge page all, for one byte.
fn lend_memory() -> Result<()> {
    let (_from, to) = std::io::pipe()?;
    let piece = libc::iovec { iov_base: vec![0_u8].leak().as_mut_ptr().cast(), iov_len: 1 };
    call(libc::SYS_vmsplice, [to.as_raw_fd().into(), &raw const piece as i64, 1, 0, 0])
}

/// A socket that holds more than every socket does.
fn large_buffer() -> Result<()> {
    let (socket, _other) = std::os::unix::net::UnixStream::pair()?;
    let before = rustix::net::sockopt::socket_send_buffer_size(&socket)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&socket, 16 << 20)?;
    let after = rustix::net::sockopt::socket_send_buffer_size(&socket)?;
    if after > before { Ok(()) } else { Err(Error::other(format!("it is {after} bytes as before"))) }
}

/// A socket whose end waits until its other side has taken everything. Handed on, it makes another program wait.
fn wait_at_the_end() -> Result<()> {
    let (socket, _other) = std::os::unix::net::UnixStream::pair()?;
    let linger = Some(std::time::Duration::from_secs(3600));
    rustix::net::sockopt::set_socket_linger(&socket, linger)?;
    match rustix::net::sockopt::socket_linger(&socket)? {
        None => Err(Error::other("it waits as long as before")),
        Some(_) => Ok(()),
    }
}

//! A hostile program: tries one thing that a sandbox must refuse, and says how it went.
//!
//! `vestibule-escape ATTEMPT ARGUMENT` prints `escaped` or `refused: <why>`. With `until-ended` after that it holds
//! what is too much for as long as it lives. With `reader FOLDER OWN` it first shuts the door behind itself as the
//! reader of that folder does, for an agent with that folder of its own, with `adopter FOLDER SCRATCH` as what takes over
//! that folder, with `plugin FILE` as the process of that plugin. `vestibule-escape each FILE` makes the attempts of a file, one of `ATTEMPT<tab>ARGUMENT` a line, each in a
//! process of its own.

#[path = "../escape/calls.rs"]
mod calls;
#[path = "../escape/greed.rs"]
mod greed;

use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, UTIME_NOW, XattrFlags};
use std::fs::{self, File};
use std::io::{Error, Read, Result, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vestibule_keeper::confine::PluginGrants;

/// In place of a position: what is too much is never let go.
const UNTIL_ENDED: &str = "until-ended";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args[1] == "each" {
        return each(&fs::read_to_string(&args[2]).expect("the attempts can be read"));
    }
    match args[3..] {
        [] => {}
        [ref until] if until == UNTIL_ENDED => {}
        [ref position, ref on, ref own] if position == "reader" => {
            vestibule_keeper::confine::reader(on.as_ref(), Some(own.as_ref())).expect("the door shuts");
        }
        [ref position, ref on, ref scratch] if position == "adopter" => {
            vestibule_keeper::confine::adopter(on.as_ref(), scratch.as_ref()).expect("the door shuts");
        }
        [ref position, ref on] if position == "plugin" => {
            let grants = PluginGrants {
                file: on.into(),
                memory_bytes: 1 << 30,
                open_files: 256,
                file_bytes: 1 << 20,
                folder: None,
            };
            vestibule_keeper::confine::plugin(&grants).expect("the door shuts");
        }
        _ => panic!("there is no such position"),
    }
    match attempt(&args[1], &args[2]) {
        Ok(()) => println!("escaped"),
        Err(error) => println!("refused: {error}"),
    }
}

/// Makes these attempts, and prints a line for each.
fn each(attempts: &str) {
    let itself = std::env::current_exe().expect("this program has a name");
    for (what, on) in attempts.lines().filter_map(|line| line.split_once('\t')) {
        let output = std::process::Command::new(&itself).args([what, on]).output();
        let said = output.map_or_else(
            |error| format!("refused: {error}"),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        );
        println!("{said}");
    }
}

fn attempt(what: &str, on: &str) -> Result<()> {
    match what {
        // Until the other end of its standard input is closed.
        "wait" => {
            println!("confined");
            std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
        }
        "read" => fs::read(on).map(drop),
        "list" => fs::read_dir(on).map(drop),
        "write" => File::options().append(true).open(on).map(drop),
        "create" => create(on),
        "remove" => fs::remove_file(on),
        "rename" => fs::rename(on, format!("{on}.moved")),
        "truncate" => File::options().write(true).open(on)?.set_len(0),
        "chmod" => Ok(rustix::fs::chmodat(CWD, on, Mode::from_raw_mode(0o644), AtFlags::empty())?),
        "chmod-as-it-is" => {
            let mode = Mode::from_raw_mode(rustix::fs::stat(on)?.st_mode);
            Ok(rustix::fs::chmodat(CWD, on, mode, AtFlags::empty())?)
        }
        "lend" => {
            File::create(on)?;
            Ok(rustix::fs::chmodat(CWD, on, Mode::RWXU | Mode::SUID, AtFlags::empty())?)
        }
        "lend-from-the-start" => File::options().write(true).create_new(true).mode(0o4700).open(on).map(drop),
        "write-proc" => write_proc(),
        "fchmod" => Ok(rustix::fs::fchmod(File::open(on)?, Mode::from_raw_mode(0o644))?),
        "chown" => Ok(rustix::fs::chownat(CWD, on, Some(rustix::process::getuid()), None, AtFlags::empty())?),
        "touch" => {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            Ok(rustix::fs::utimensat(CWD, on, &times, AtFlags::empty())?)
        }
        "setxattr" => Ok(rustix::fs::setxattr(on, "user.vestibule", b"x", XattrFlags::empty())?),
        "lease" => lease(&File::open(on)?),
        // A run is known by this limit: one that lowers it could not be found.
        "unmark" => {
            let limit = rustix::process::Rlimit { current: Some(1), maximum: Some(1) };
            Ok(rustix::process::setrlimit(rustix::process::Resource::Locks, limit)?)
        }
        "outlive" => {
            hide(on);
            std::thread::sleep(std::time::Duration::from_secs(600));
            Ok(())
        }
        "hidden" => {
            std::thread::sleep(std::time::Duration::from_secs(600));
            Ok(())
        }
        "hold-lease" => {
            let file = File::open(on)?;
            // SAFETY: it takes numbers only. Whoever breaks a lease is announced by a signal that kills.
            unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
            lease(&file)?;
            println!("held");
            std::thread::sleep(std::time::Duration::from_secs(600));
            Ok(())
        }
        "hard-link" => fs::hard_link(on, "stolen").and_then(|()| fs::remove_file("stolen")),
        "connect-unix" => UnixStream::connect(on).map(drop),
        "connect-tcp" => TcpStream::connect(on)?.write_all(b"x"),
        "send-udp" => UdpSocket::bind("127.0.0.1:0")?.send_to(b"x", on).map(drop),
        "signal" => Ok(rustix::process::test_kill_process(pid(on)?)?),
        "trace" => trace(on),
        "environment" => match fs::read(format!("/proc/{on}/environ"))?.is_empty() {
            true => Err(Error::other("it is empty")),
            false => Ok(()),
        },
        "memory-of" => File::open(format!("/proc/{on}/mem")).map(drop),
        "new-namespace" => {
            // SAFETY: it takes numbers only.
            answer(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
        }
        // SQLite's shared lock, and its exclusive one, held until somebody ends this process.
        "hold-shared" => hold(&File::open(on)?, libc::F_RDLCK),
        "hold-exclusive" => hold(&File::options().read(true).write(true).open(on)?, libc::F_WRLCK),
        "grow" => {
            let bytes = on.parse().map_err(Error::other)?;
            Vec::<u8>::new().try_reserve_exact(bytes).map_err(Error::other)
        }
        "start" => std::process::Command::new(on).status().map(drop),
        // SAFETY: the child ends at once.
        "fork" => answer(unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::_exit(0);
            }
            pid
        }),
        "many-processes" => hold_many(number(on)?),
        "many-threads" => {
            for _ in 0..number(on)? {
                std::thread::Builder::new().stack_size(64 * 1024).spawn(hold_on)?;
            }
            hold_on();
            Ok(())
        }
        "fork-for-ever" => fork_for_ever(number(on)?),
        "much-memory" => much_memory(number(on)?),
        "hidden-memory" => {
            let file = rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::CLOEXEC)?;
            fill(&mut File::from(file), number(on)?)
        }
        "fill" => fill(&mut File::create(temporary("big"))?, number(on)?),
        "fill-hidden" => {
            let mut file = File::create(temporary("hidden"))?;
            fs::remove_file(temporary("hidden"))?;
            fill(&mut file, number(on)?)
        }
        "many-files" => {
            for file in 0..number(on)? {
                File::create(temporary(&format!("file-{file}")))?;
            }
            hold_on();
            Ok(())
        }
        "fill-own" | "many-own-files" | "page-tables" | "watches" | "hide" | "hide-headless" => {
            greed::attempt(what, on)
        }
        other => calls::attempt(other, on),
    }
}

/// Holds what is too much: for a while, after which it has got away with it, or until it is ended.
fn hold_on() {
    let until_ended = std::env::args().nth(3).is_some_and(|until| until == UNTIL_ENDED);
    std::thread::sleep(Duration::from_secs(if until_ended { 600 } else { 6 }));
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(Error::other)
}

fn temporary(name: &str) -> String {
    format!("{}/{name}", std::env::var("TMPDIR").unwrap_or_default())
}

/// Writes so many MiB, and holds them.
fn fill(file: &mut File, mib: u64) -> Result<()> {
    for _ in 0..mib {
        file.write_all(&[1; 1 << 20])?;
    }
    hold_on();
    Ok(())
}

fn hold_many(processes: u64) -> Result<()> {
    for _ in 0..processes {
        // SAFETY: the child does nothing but wait and end.
        match unsafe { libc::fork() } {
            0 => {
                hold_on();
                std::process::exit(0);
            }
            pid => answer(pid)?,
        }
    }
    hold_on();
    Ok(())
}

/// So many lines of processes, each of which leaves its session, forks and ends, for ever.
fn fork_for_ever(lines: u64) -> Result<()> {
    for _ in 0..lines {
        // SAFETY: only calls that take numbers; the child never returns.
        unsafe {
            match libc::fork() {
                0 => loop {
                    libc::setsid();
                    if libc::fork() > 0 {
                        libc::_exit(0);
                    }
                },
                pid => answer(pid)?,
            }
        }
    }
    hold_on();
    Ok(())
}

/// So many MiB, a quarter in each of four processes.
fn much_memory(mib: u64) -> Result<()> {
    for _ in 0..4 {
        // SAFETY: one thread; the child touches memory of its own and ends.
        if unsafe { libc::fork() } == 0 {
            let bytes = vec![1_u8; (mib as usize) << 18];
            hold_on();
            std::process::exit(i32::from(bytes[bytes.len() / 2]));
        }
    }
    hold_on();
    Ok(())
}

/// Opens for writing whatever of `/proc` lets itself be opened, but for the entries of processes.
fn write_proc() -> Result<()> {
    let of_a_process = |path: &Path| {
        let name = path.strip_prefix("/proc").unwrap_or(path).as_os_str().to_string_lossy();
        name.starts_with(|first: char| first.is_ascii_digit()) || ["self", "thread-self"].contains(&&*name)
    };
    let (mut todo, mut last) = (vec![PathBuf::from("/proc")], Error::other("there is nothing"));
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type()? {
                _ if of_a_process(&path) => {}
                kind if kind.is_dir() => todo.push(path),
                kind if kind.is_file() => match File::options().write(true).open(&path) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error,
                },
                _ => {}
            }
        }
    }
    Err(last)
}

fn pid(text: &str) -> Result<rustix::process::Pid> {
    let pid = text.parse().ok().and_then(rustix::process::Pid::from_raw);
    pid.ok_or_else(|| Error::other("no process id"))
}

fn answer(code: i32) -> Result<()> {
    if code < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// A file that was not there. While the runtime writes, its journal is: then it is tried again.
fn create(on: &str) -> Result<()> {
    for _ in 0..5_000 {
        match File::create_new(on) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            made => return made.map(drop),
        }
    }
    Err(Error::other("it is there all the time"))
}

/// A lease that lets others read only. While another program writes the file, it is tried again.
fn lease(file: &File) -> Result<()> {
    use std::os::fd::AsRawFd;
    for _ in 0..5_000 {
        // SAFETY: it takes numbers only.
        match answer(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) }) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            done => return done,
        }
    }
    Err(Error::other("another program writes the file all the time"))
}

fn hold(file: &File, kind: i32) -> Result<()> {
    use std::os::fd::AsRawFd;
    const PENDING: i64 = 0x4000_0000;
    let lock = libc::flock { l_type: kind as i16, l_whence: 0, l_start: PENDING, l_len: 512, l_pid: 0 };
    let shared = libc::flock { l_start: PENDING + 2, l_len: 510, ..lock };
    // SAFETY: `fcntl` reads the lock that it is given.
    answer(unsafe {
        libc::fcntl(file.as_raw_fd(), libc::F_SETLKW, if kind == libc::F_RDLCK { &shared } else { &lock })
    })?;
    std::thread::sleep(std::time::Duration::from_secs(600));
    Ok(())
}

fn trace(on: &str) -> Result<()> {
    let pid = pid(on)?.as_raw_nonzero().get();
    // SAFETY: attaching and detaching take numbers only.
    unsafe {
        answer(libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) as i32)?;
        libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
    }
    Ok(())
}

/// Leaves a program that nothing ties to this one: it belongs to a POSIX session of its own, its parent is gone, and it
/// has let go of every lock and closed everything that it inherited.
fn hide(word: &str) {
    use std::os::unix::process::CommandExt;
    // SAFETY: this program has one thread, and these calls take numbers only.
    unsafe {
        if libc::fork() != 0 {
            return;
        }
        libc::setsid();
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        for fd in 0..64 {
            libc::flock(fd, libc::LOCK_UN);
            libc::close(fd);
        }
    }
    let program = std::env::current_exe().expect("it runs");
    let error = std::process::Command::new(program).args(["hidden", word]).exec();
    panic!("it does not start: {error}");
}

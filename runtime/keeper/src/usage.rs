//! How much a run uses, by the kernel's own figures: only numbers are read about its processes.

use crate::objects::{self, OBJECTS_MAX};
use crate::wire::Limits;
use rustix::fs::{AtFlags, FileType, RawDir, statat};
use rustix::process::Pid;
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::path::PathBuf;

/// The most open files of a run together.
const OPEN_FILES_MAX: u64 = 16 * 1024;

/// When this many looks in a row find a process that hides what it has open, it is no accident. One look may: a program
/// that may be executed and not read, as `sudo` is on some systems, hides it until it ends.
const HIDDEN_MAX: u32 = 2;

/// How much the processes of a run use together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processes, each thread counted as one.
    pub processes: u64,
    /// Memory that is not a copy of a file, with the tables of its pages, in bytes; memory that several processes share
    /// may be counted several times.
    pub memory_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Bytes in open files that have no name and are not in memory.
    pub unnamed_bytes: u64,
    /// Watches and locks, as they were last counted.
    pub objects: u64,
    /// How often in a row a process was there that hid what it has open.
    pub hidden: u32,
}

/// Why a run must end; `None` when it need not. Pure.
pub fn verdict(usage: &Usage, limits: &Limits) -> Option<String> {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    if usage.processes > limits.processes {
        return Some(format!(
            "it had more processes than sandbox_processes = {} allows, and was ended",
            limits.processes
        ));
    }
    if usage.memory_bytes > limits.memory_bytes {
        let most = mib(limits.memory_bytes);
        return Some(format!("it held more memory than sandbox_memory_mb = {most} allows, and was ended"));
    }
    if usage.open_files > OPEN_FILES_MAX {
        return Some(format!("it had more than {OPEN_FILES_MAX} files open, and was ended"));
    }
    if usage.unnamed_bytes > limits.out_bytes {
        let most = mib(limits.out_bytes);
        return Some(format!(
            "its removed files held more than sandbox_out_mb = {most} allows, and it was ended"
        ));
    }
    if usage.objects > OBJECTS_MAX {
        return Some(format!("it had more than {OBJECTS_MAX} watches and locks, and was ended"));
    }
    if usage.hidden >= HIDDEN_MAX {
        let how = "by PR_SET_DUMPABLE, by ending its first thread, or its file may not be read";
        return Some(format!("a program of it hid what it has open ({how}), so it was ended"));
    }
    None
}

/// The processes of a run.
pub struct Run {
    /// The processes that were found before there were too many. A process whose first thread has ended stands here by
    /// another thread: the kernel shows nothing of it by its own number.
    pub pids: Vec<Pid>,
    /// Those of them that stand here by another thread.
    headless: Vec<Pid>,
    /// How many processes there are, each thread counted as one.
    pub tasks: u64,
}

/// Finds all descendants of `roots`, themselves included. Stops where there are more than `most`, so that the cost is
/// bounded.
pub fn find(roots: Vec<Pid>, most: u64) -> Run {
    let (mut todo, mut seen) = (roots, HashSet::new());
    let mut run = Run { pids: vec![], headless: vec![], tasks: 0 };
    while let Some(pid) = todo.pop() {
        if run.tasks > most || !seen.insert(pid) {
            continue;
        }
        let threads = numbers(&of(pid, "task"));
        for thread in &threads {
            run.tasks += 1;
            todo.extend(pids(&fs::read(of(pid, &format!("task/{thread}/children"))).unwrap_or_default()));
        }
        if threads.len() <= 1 || lives(pid) {
            run.pids.push(pid);
            continue;
        }
        let mut others = threads.into_iter().filter_map(|thread| Pid::from_raw(thread.cast_signed()));
        let shown = others.find(|thread| lives(*thread)).unwrap_or(pid);
        run.pids.push(shown);
        run.headless.push(shown);
    }
    run
}

/// Measures a run. Stops counting where a limit is passed, so that the cost is bounded. `disk` is the device of `out/`.
pub fn measure(run: &Run, limits: &Limits, disk: u64) -> Usage {
    let mut usage = Usage { processes: run.tasks, ..Usage::default() };
    if usage.processes > limits.processes {
        return usage;
    }
    let pids = &run.pids;
    let (unnamed_memory, mut own, mut shared, mut tables) = (unnamed(pids, disk, &mut usage), 0, 0, 0);
    for pid in pids {
        let status = fs::read(of(*pid, "status")).unwrap_or_default();
        own += kib(&status, "RssAnon:") + kib(&status, "VmSwap:");
        shared += kib(&status, "RssShmem:");
        tables += kib(&status, "VmPTE:");
    }
    // Threads that end faster than they are looked at count as hiding.
    usage.hidden |= u32::from(run.headless.iter().any(|thread| !lives(*thread)));
    usage.memory_bytes = own + unnamed_memory.max(shared) + tables;
    if usage.memory_bytes > limits.memory_bytes {
        // After a fork both processes have the same pages. The exact count, each page once, is slow, so it is made only
        // now.
        let exact = pids.iter().map(|pid| {
            let text = fs::read(of(*pid, "smaps_rollup")).unwrap_or_default();
            (kib(&text, "Pss_Anon:") + kib(&text, "SwapPss:"), kib(&text, "Pss_Shmem:"))
        });
        let (own, shared) = exact.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if own + shared > 0 {
            usage.memory_bytes = own + unnamed_memory.max(shared) + tables;
        }
    }
    usage
}

/// Measures one process that can start no others, as [`measure`] does.
pub fn of_process(pid: Pid, limits: &Limits) -> Usage {
    let run = find(vec![pid], limits.processes);
    let usage = measure(&run, limits, NO_DISK);
    Usage { objects: objects::count(&run.pids), ..usage }
}

/// A number that no device has.
const NO_DISK: u64 = 0;

/// Files that only the processes that have them open can see: returns the bytes of those in memory, and adds those on
/// the disk to `usage`.
fn unnamed(pids: &[Pid], disk: u64, usage: &mut Usage) -> u64 {
    let (mut known, mut in_memory) = (HashSet::new(), 0);
    for pid in pids {
        let folder = match fs::File::open(of(*pid, "fd")) {
            Ok(folder) => folder,
            Err(error) => {
                usage.hidden |= u32::from(error.kind() == ErrorKind::PermissionDenied && lives(*pid));
                continue;
            }
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(&folder, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            usage.open_files += 1;
            if usage.open_files > OPEN_FILES_MAX {
                return in_memory;
            }
            let Ok(stat) = statat(&folder, entry.file_name(), AtFlags::empty()) else { continue };
            let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if is_file && stat.st_nlink == 0 && known.insert((stat.st_dev, stat.st_ino)) {
                let bytes = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
                *(if stat.st_dev == disk { &mut usage.unnamed_bytes } else { &mut in_memory }) += bytes;
            }
        }
    }
    in_memory
}

/// Whether a process has memory: one that has ended and was not waited for has none.
fn lives(pid: Pid) -> bool {
    fs::read(of(pid, "statm")).is_ok_and(|text| !text.starts_with(b"0 "))
}

fn of(pid: Pid, what: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{what}", pid.as_raw_nonzero()))
}

/// The entries of a folder of `/proc` that are numbers.
fn numbers(folder: &std::path::Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The process ids in a list that the kernel gives.
pub fn pids(text: &[u8]) -> Vec<Pid> {
    let words = text.split(|byte| byte.is_ascii_whitespace());
    words.filter_map(|word| Pid::from_raw(std::str::from_utf8(word).ok()?.parse().ok()?)).collect()
}

/// The bytes that a line such as `RssAnon:  120 kB` gives. The kernel escapes line ends in names.
fn kib(text: &[u8], name: &str) -> u64 {
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(name.as_bytes()));
    let number =
        line.and_then(|line| std::str::from_utf8(line).ok()?.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { processes: 10, memory_bytes: 64 << 20, out_bytes: 32 << 20, ..Limits::NONE };

    #[test]
    fn who_goes_over_a_limit_is_ended_with_its_name() {
        let fine = Usage {
            processes: 10,
            memory_bytes: 64 << 20,
            open_files: 9,
            unnamed_bytes: 32 << 20,
            objects: 65_536,
            hidden: 1,
        };
        for (usage, words) in [
            (fine, None),
            (Usage { processes: 11, ..fine }, Some("sandbox_processes = 10")),
            (Usage { memory_bytes: (64 << 20) + 1, ..fine }, Some("sandbox_memory_mb = 64")),
            (Usage { open_files: 16_385, ..fine }, Some("files open")),
            (Usage { unnamed_bytes: (32 << 20) + 1, ..fine }, Some("sandbox_out_mb = 32")),
            (Usage { objects: 65_537, ..fine }, Some("watches and locks")),
            (Usage { hidden: 2, ..fine }, Some("hid what it has open")),
        ] {
            let found = verdict(&usage, &LIMITS);
            assert_eq!(found.is_some(), words.is_some(), "{usage:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(words.unwrap_or_default()), "{usage:?}");
        }
    }

    #[test]
    fn a_process_without_a_name_file_is_still_counted() {
        // 16 MiB in a file in memory that is not mapped: no process "has" it.
        let file = rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let mut file = fs::File::from(file);
        std::io::Write::write_all(&mut file, &vec![1; 16 << 20]).unwrap();
        let us = rustix::process::getpid();
        let limits = Limits { processes: 1000, memory_bytes: 1 << 40, ..LIMITS };
        let run = find(vec![us], limits.processes);
        let usage = measure(&run, &limits, 0);
        assert!(usage.memory_bytes >= 16 << 20 && usage.processes >= 2 && usage.open_files >= 4, "{usage:?}");
        let exact = measure(&run, &Limits { memory_bytes: 0, ..limits }, 0);
        assert!(exact.memory_bytes >= 16 << 20, "{exact:?}");
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_measured_by_another() {
        let script = "import ctypes, os, threading, time\n\
                      kept = bytearray(32 << 20)\n\
                      threading.Thread(target=time.sleep, args=(60,)).start()\n\
                      print(flush=True)\n\
                      ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)";
        let mut program = std::process::Command::new("python3");
        let mut program = program.args(["-c", script]).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&program);
        let ended = (0..5000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            fs::read_to_string(of(pid, "stat")).unwrap().contains(") Z ")
        });
        let limits = Limits { processes: 1000, memory_bytes: 1 << 40, ..LIMITS };
        let run = find(vec![pid], limits.processes);
        let usage = measure(&run, &limits, 0);
        program.kill().unwrap();
        program.wait().unwrap();
        assert!(ended && usage.memory_bytes >= 32 << 20 && usage.open_files >= 5, "{usage:?}");
        assert_eq!((usage.hidden, usage.processes), (0, 2));
        // Other threads of it may have what that one had. A process that has ended has nothing.
        assert_eq!(measure(&run, &limits, 0).hidden, 1);
        assert_eq!(measure(&Run { headless: vec![], ..run }, &limits, 0).hidden, 0);
    }

    #[test]
    fn figures_are_read_from_the_kernels_lines() {
        assert_eq!(kib(b"Name:\tx\\nRssAnon: 9\nRssAnon:\t   120 kB\n", "RssAnon:"), 120 * 1024);
        assert_eq!(kib(b"", "RssAnon:"), 0);
        assert_eq!(pids(b"12 7 \n"), [Pid::from_raw(12).unwrap(), Pid::from_raw(7).unwrap()]);
    }
}

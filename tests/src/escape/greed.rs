//! Wanting too much of what no limit of the kernel's counts.

use crate::{fill, hold_on, number};
use rustix::event::epoll;
use std::fs::File;
use std::io::{Error, Result};

pub fn attempt(what: &str, on: &str) -> Result<()> {
    match what {
        "fill-own" => fill(&mut File::create("big")?, number(on)?),
        "many-own-files" => {
            for file in 0..number(on)? {
                File::create(format!("file-{file}"))?;
            }
            hold_on();
            Ok(())
        }
        "page-tables" => page_tables(number(on)?),
        "watches" => watches(number(on)?),
        "hide-headless" => hide_headless(number(on)?),
        "hide" => {
            // SAFETY: it takes numbers only.
            if unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) } < 0 {
                return Err(Error::last_os_error());
            }
            let file = rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::CLOEXEC)?;
            fill(&mut File::from(file), number(on)?)
        }
        other => Err(Error::other(format!("there is no attempt `{other}`"))),
    }
}

/// So many MiB of page tables: each 2 MiB of which one byte is read need a page of them, and no memory besides.
fn page_tables(mib: u64) -> Result<()> {
    const STEP: usize = 2 << 20;
    let steps = usize::try_from(mib).map_err(Error::other)? * 256;
    let (protect, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping that nothing else uses; each byte read lies in it.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), steps * STEP, protect, flags, -1, 0);
        if start == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        libc::madvise(start, steps * STEP, libc::MADV_NOHUGEPAGE);
        for step in 0..steps {
            start.cast::<u8>().add(step * STEP).read_volatile();
        }
    }
    hold_on();
    Ok(())
}

/// So many watches of few files: the kernel keeps one for each number that a file had when it was added.
fn watches(many: u64) -> Result<()> {
    const NUMBERS: std::ops::Range<i32> = 920..1000;
    let mut left = many;
    let polls: Vec<_> =
        std::iter::from_fn(|| epoll::create(epoll::CreateFlags::CLOEXEC).ok()).take(800).collect();
    let mut ends = Vec::new();
    while left > 0 {
        let (end, other) = std::io::pipe()?;
        for number in NUMBERS {
            use std::os::fd::AsRawFd;
            // SAFETY: numbers that nothing else uses; each is closed before it is used again.
            let copy = unsafe {
                let copy = libc::dup2(end.as_raw_fd(), number);
                std::os::fd::BorrowedFd::borrow_raw(copy)
            };
            for poll in polls.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                epoll::add(poll, copy, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
                left -= 1;
            }
            // SAFETY: see above.
            unsafe { libc::close(number) };
        }
        ends.push((end, other));
    }
    hold_on();
    Ok(())
}

/// So many MiB in memory, held by a process whose first thread has ended.
fn hide_headless(mib: u64) -> Result<()> {
    let file = rustix::fs::memfd_create("hidden", rustix::fs::MemfdFlags::CLOEXEC)?;
    std::thread::spawn(move || {
        match fill(&mut File::from(file), mib) {
            Ok(()) => println!("escaped"),
            Err(error) => println!("refused: {error}"),
        }
        std::process::exit(0)
    });
    // SAFETY: it ends this thread alone, whose memory stays.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Err(Error::other("the first thread does not end"))
}

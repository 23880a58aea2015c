//! The faults.

use std::fs::File;
use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;
use vestibule_plugin_api::{Health, PluginError, Runtime, Timestamp};

/// Commits a fault; answers what came of it, if anything comes of it.
pub async fn commit(fault: &str, runtime: &Runtime) -> String {
    let (fault, with) = fault.split_once(' ').unwrap_or((fault, ""));
    match fault {
        "segv" => unsafe { std::ptr::write_volatile(std::hint::black_box(8 as *mut u8), 1) },
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        "kill" => {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        "stack" => drop(std::hint::black_box(deeper(1))),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "busy" => busy(with),
        "busy-beside" => {
            let with = with.to_owned();
            std::thread::spawn(move || busy(&with));
        }
        "deadlock" => {
            let mutex = std::sync::Mutex::new(());
            let _one = mutex.lock();
            let _two = mutex.lock();
        }
        "never" => std::future::pending().await,
        "slow" => tokio::time::sleep(Duration::from_millis(with.parse().unwrap_or(100))).await,
        "block" => std::thread::sleep(Duration::from_millis(with.parse().unwrap_or(100))),
        "panic" => panic!("told to"),
        "give-up" => runtime.health(Health::Stopped { reason: "told to give up".into() }).await,
        "panic-task" => {
            let task = tokio::spawn(async { panic!("told to, in a task") });
            return format!("panicked {}", task.await.is_err());
        }
        "leak" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![7u8; 4 * 1024 * 1024]);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        "keep" => std::mem::forget(std::hint::black_box(vec![7u8; 32 * 1024])),
        "keep-file" => std::mem::forget(File::open("/dev/null")),
        "descriptors" => {
            // It goes on with what it can still do: nothing.
            while let Ok(file) = File::open("/dev/null") {
                std::mem::forget(file);
            }
        }
        "threads" => {
            for _ in 0..1500 {
                let sleep = || std::thread::sleep(Duration::from_secs(600));
                if std::thread::Builder::new().stack_size(16 * 1024).spawn(sleep).is_err() {
                    break;
                }
            }
        }
        "memory-files" => {
            for _ in 0..4 {
                let file = rustix::fs::memfd_create("kept", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
                let mut file = File::from(file);
                for _ in 0..60 {
                    let _ = file.write_all(&[7; 1 << 20]);
                }
                std::mem::forget(file);
            }
        }
        "watches" => watches(),
        "hide" => {
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
        }
        "log" => {
            for number in 0..100_000 {
                tracing::info!(number, "noise");
            }
        }
        "flood" => flood(runtime, with),
        "events" => return events(runtime, with).await,
        "raw" => return crate::raw::send(with),
        "can" => return can(with),
        _ => return format!("no such fault: {fault}"),
    }
    "done".to_owned()
}

/// Wants a processor for so many milliseconds.
fn busy(ms: &str) {
    let (begin, long) = (std::time::Instant::now(), Duration::from_millis(ms.parse().unwrap_or(100)));
    while begin.elapsed() < long {
        std::hint::spin_loop();
    }
}

/// More watches than a run may have, of few files: each number that one had is a watch.
fn watches() {
    let polls: Vec<i32> = (0..40).map(|_| unsafe { libc::epoll_create1(0) }).collect();
    for _ in 0..12 {
        let file = unsafe { libc::eventfd(0, 0) };
        for copy in 300..450 {
            unsafe { libc::dup2(file, copy) };
            for poll in &polls {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                unsafe { libc::epoll_ctl(*poll, libc::EPOLL_CTL_ADD, copy, &mut event) };
            }
            unsafe { libc::close(copy) };
        }
    }
}

fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 512]);
    if depth == 0 { 0 } else { deeper(depth + 1) + room[7] }
}

/// `COUNT BYTES`: so many messages at once, none of them waited for. The log tells what became of them.
fn flood(runtime: &Runtime, with: &str) {
    let mut numbers = with.split(' ').filter_map(|word| word.parse::<usize>().ok());
    let (count, bytes) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(64 * 1024));
    let all: Vec<_> = (0..count)
        .map(|number| {
            let (runtime, id) = (runtime.clone(), format!("flood-{}-{number}", Timestamp::now().0));
            tokio::spawn(
                async move { runtime.message(crate::message(&id, "flood", "x".repeat(bytes))).await },
            )
        })
        .collect();
    tokio::spawn(async move {
        let (mut taken, mut later) = (0, 0);
        for one in all {
            match one.await {
                Ok(Ok(_)) => taken += 1,
                Ok(Err(PluginError::Retry { .. })) => later += 1,
                _ => {}
            }
        }
        tracing::info!("flooded: {taken} taken, {later} to come again");
    });
}

/// `COUNT IN-FLIGHT`: messages of 1 KiB; answers how many nanoseconds each took.
async fn events(runtime: &Runtime, with: &str) -> String {
    let mut numbers = with.split(' ').filter_map(|word| word.parse::<u32>().ok());
    let (count, in_flight) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(1));
    let begin = std::time::Instant::now();
    let workers: Vec<_> = (0..in_flight)
        .map(|worker| {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                for number in 0..count / in_flight {
                    let id = format!("event-{worker}-{number}");
                    let _ = runtime.message(crate::message(&id, "bench", "x".repeat(1024))).await;
                }
            })
        })
        .collect();
    for worker in workers {
        let _ = worker.await;
    }
    (begin.elapsed().as_nanos() / u128::from(count.max(1))).to_string()
}

/// Which of these a plugin can do: what it could, one word each.
fn can(with: &str) -> String {
    let mut could = Vec::new();
    let mut note = |word: &str, it: bool| {
        if it {
            could.push(word.to_owned());
        }
    };
    let home = std::path::Path::new(with);
    note("read-home", std::fs::read_dir(home).is_ok());
    note("read-database", File::open(home.join("vestibule.db")).is_ok());
    note("read-token", File::open(home.join("control.token")).is_ok());
    note("read-etc-passwd", File::open("/etc/passwd").is_ok());
    note(
        "write-tmp",
        File::create("/tmp/vestibule-faulty").and_then(|mut file| file.write_all(b"x")).is_ok(),
    );
    note("start", std::process::Command::new("/bin/true").status().is_ok());
    note("control-socket", UnixStream::connect(home.join("control.sock")).is_ok());
    let bind = |path: std::path::PathBuf| {
        let bound = UnixListener::bind(&path).is_ok();
        let _ = std::fs::remove_file(path);
        bound
    };
    note("socket-in-home", bind(home.join("faulty.sock")));
    let elsewhere = std::path::PathBuf::from(format!("/tmp/vestibule-faulty-{}", std::process::id()));
    note("socket-in-tmp", bind(elsewhere.clone()));
    let name = SocketAddr::from_abstract_name("vestibule-faulty").unwrap();
    note("abstract-socket", UnixListener::bind_addr(&name).is_ok());
    note("datagram-socket", UnixDatagram::unbound().is_ok());
    let pair = UnixDatagram::pair();
    note("datagram-pair", pair.is_ok_and(|(one, _)| one.connect(home.join("control.sock")).is_ok()));
    // With whatever socket is open here, the local one that the runtime has handed over among them.
    let control = rustix::net::SocketAddrUnix::new(home.join("control.sock")).unwrap();
    let pair = UnixStream::pair().unwrap();
    let mut open = (3..64).map(|number| unsafe { rustix::fd::BorrowedFd::borrow_raw(number) });
    note("connect-what-is-open", open.clone().any(|one| rustix::net::connect(one, &control).is_ok()));
    let place = rustix::net::SocketAddrUnix::new(&elsewhere).unwrap();
    note("bind-what-is-open", open.any(|one| rustix::net::bind(one, &place).is_ok()));
    let _ = std::fs::remove_file(elsewhere);
    let nowhere = rustix::net::SocketAddrUnix::new_abstract_name(b"vestibule-faulty-pair").unwrap();
    let _ = rustix::net::bind(&pair.0, &nowhere);
    note("listen-at-a-pair", rustix::net::listen(&pair.0, 1).is_ok());
    note("environment", std::env::vars().next().is_some());
    let parent = rustix::process::getppid().unwrap();
    note("signal-runtime", rustix::process::test_kill_process(parent).is_ok());
    let none = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    let limit = rustix::process::prlimit(Some(parent), rustix::process::Resource::Core, none);
    note("limit-runtime", limit.is_ok());
    note("outlive-runtime", rustix::process::set_parent_process_death_signal(None).is_ok());
    note("runtime-environment", std::fs::read(format!("/proc/{}/environ", parent.as_raw_pid())).is_ok());
    note("internet", std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
    note("thread", std::thread::spawn(|| ()).join().is_ok());
    note("certificates", std::fs::read_dir("/etc/ssl/certs").is_ok());
    could.join(" ")
}

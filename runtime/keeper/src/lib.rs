//! The keeper: the one process that touches what an agent can write.
//!
//! Beside each running runner stands one keeper, which is two processes. The **warden** starts the runner, watches what
//! it uses, ends it, and reads no byte of the agent's. The **reader** confines itself, reads `outbound.db`, and hands
//! what it reads to the runtime as frames over a socket. Whatever a hostile file does, it does to the reader and to no
//! other process: the reader can neither signal nor delay its warden. The runtime checks each frame as it would a
//! stranger's.
//!
//! [`wire`] has the frames of both sides; [`main`] is the process.

mod acks;
mod adopt;
mod bwrap;
mod commits;
pub mod confine;
mod fault;
mod files;
pub mod groups;
mod launch;
pub mod objects;
mod outbox;
mod survivors;
pub mod usage;
mod user;
mod warden;
mod watch;
pub mod weigh;
pub mod weight;
pub mod wire;

use fault::Fault;
pub use fault::is_for_want;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use survivors::Mark;
use vestibule_session::{SessionDir, words};
use wire::{FromForeign, FromKeeper, ToKeeper};

/// The first argument of a keeper that becomes a runner's user and then its program.
const AS: &str = "--as";

/// How long a keeper waits for the one before it to let go of the session.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// How often a keeper that is busy with a long step says that it lives.
const PULSE: Duration = Duration::from_secs(1);

/// Runs as a keeper. Standard input is the socket to the runtime; the first frame says what to keep. With `--probe` it
/// only says how well this kernel confines a runner (a [`confine::Confinement`]), with `--probe-bwrap JSON PROGRAM
/// FOLDER` whether that [`wire::Bubblewrap`] does, tried in that folder, with `--probe-reader FOLDER` whether it confines a
/// reader of that folder.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    let words: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    let outcome = match *words {
        ["--probe"] => confine::probe().and_then(|found| {
            println!("{}", serde_json::to_string(&found)?);
            Ok(())
        }),
        ["--probe-reader", _] => confine::reader(args[1].as_ref(), None),
        ["--probe-inside"] => bwrap::probe_inside(),
        ["--probe-bwrap", bubblewrap, _, _] => {
            launch::probe_bwrap(bubblewrap, args[2].as_ref(), args[3].as_ref())
        }
        [AS, ..] => user::run_as(&args[1..]),
        _ => run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vestibule keeper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> std::io::Result<()> {
    let mut runtime = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(std::io::stdin().as_fd(), 3)?);
    let by_hand = || std::io::Error::other("it is started by the runtime, not by hand");
    let spec = match wire::receive(&mut runtime) {
        Ok(Some(ToKeeper::Launch(spec))) => spec,
        Ok(Some(ToKeeper::Adopt(spec))) => return adopt(&mut runtime, &spec),
        _ => return Err(by_hand()),
    };
    let dir = SessionDir::new(&spec.session_dir);
    vestibule_session::never_wait("keeper");
    let held = lock(&dir).and_then(|lock| Mark::of(&lock).map(|mark| (lock, mark)));
    let (lock, mark) = held.or_else(|error| watch::say(&mut runtime, error.into()))?;
    if let Some(runner) = &spec.runner {
        hand_over(&mut runtime, &dir, runner).or_else(|fault| watch::say(&mut runtime, fault))?;
    } else {
        // The reader reads what an earlier run left: first, that run must be over.
        mark.end_all().or_else(|error| watch::say(&mut runtime, error.into()))?;
    }
    let ends = || Ok((std::io::pipe()?, UnixStream::pair()?, launch::split()?));
    let ends = ends().or_else(|error: std::io::Error| watch::say(&mut runtime, error.into()))?;
    let ((stderr, stderr_of_runner), (link, link_of_reader), side) = ends;
    match side {
        launch::Side::Reader => {
            // Through this descriptor a reader that an agent took over could let go of the lock.
            drop((link, stderr_of_runner, lock));
            let outcome = watch::serve(
                watch::Ends { runtime: &mut runtime, link: link_of_reader, stderr },
                &dir,
                &spec,
            );
            // What follows here is the parent's work, not this process's.
            std::process::exit(i32::from(outcome.is_err()));
        }
        launch::Side::Warden(reader, life) => {
            drop((link_of_reader, stderr));
            let ends = warden::Ends { runtime: &runtime, reader, link, stderr: stderr_of_runner };
            let outcome = warden::guard(ends, &dir, spec.runner.map(|runner| (runner, mark)));
            drop(life);
            launch::see_off(reader);
            outcome
        }
    }
}

/// Gives the runner the files that it may write, and says meanwhile that the keeper lives.
fn hand_over(runtime: &mut UnixStream, dir: &SessionDir, runner: &wire::RunnerSpec) -> fault::Result<()> {
    let mut pulsed = Instant::now();
    let pulse = || {
        if pulsed.elapsed() >= PULSE {
            pulsed = Instant::now();
            wire::send(runtime, &FromKeeper::Pulse)?;
        }
        Ok(())
    };
    user::hand_over(dir, runner, pulse).map_err(|error| {
        Fault::of(&error, format!("the agent's files cannot be given to its runner: {error}"))
    })
}

/// Reads a foreign folder, hands over what it holds, and goes.
fn adopt(runtime: &mut UnixStream, spec: &wire::AdoptSpec) -> std::io::Result<()> {
    confine::signals(true);
    let outcome = adopt::serve(runtime, spec);
    let frame = match &outcome {
        Ok(()) => return Ok(()),
        Err(Fault::Corrupt(reason)) => FromForeign::Corrupt { reason: words::reason(reason) },
        Err(Fault::Scarce(reason)) => FromForeign::Failed { reason: words::reason(reason) },
        Err(Fault::Failed(error)) => FromForeign::Failed { reason: words::reason(error) },
    };
    // The runtime may be gone already; then it does not need to know.
    let _ = wire::send(runtime, &frame);
    Ok(outcome?)
}

/// The lock of the one keeper of a session: held until this process has ended. The run has no descriptor of it, through
/// which the lock could be let go: what outlives a killed keeper is found by its [`Mark`].
fn lock(dir: &SessionDir) -> std::io::Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(CWD, dir.keeper_lock(), flags, Mode::RUSR | Mode::WUSR)?;
    let begin = Instant::now();
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if begin.elapsed() > LOCK_PATIENCE {
            return Err(std::io::Error::other("another keeper holds this session"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(file)
}

//! The keeper: the one process that touches what an agent can write.
//!
//! Beside each running runner stands one keeper. It starts the runner, watches it, reads
//! `outbound.db`, and hands what it reads to the runtime as frames over a socket. Whatever a hostile
//! file does to its reader happens to this process, and to no other. The runtime checks each frame
//! as it would a stranger's.
//!
//! [`wire`] is what both sides say; [`main`] is the process.

pub mod confine;
mod launch;
mod watch;
pub mod wire;

use rustix::fd::AsFd;
use rustix::fs::{FlockOperation, flock};
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use vestibule_session::SessionDir;
use wire::{FromKeeper, ToKeeper};

/// How long a keeper waits for the one before it to let go of the session.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Runs as a keeper. Standard input is the socket to the runtime; the first frame says what to keep.
/// With `--probe` it only says whether this kernel can confine a runner.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let outcome = if args.next().is_some_and(|arg| arg == "--probe") { confine::probe() } else { run() };
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
    let Ok(Some(ToKeeper::Launch(spec))) = wire::receive(&mut runtime) else { return Err(by_hand()) };
    let dir = SessionDir::new(&spec.session_dir);
    // A runner without a sandbox can do what its user can, and would inherit this.
    if spec.runner.as_ref().is_none_or(|runner| runner.sandbox != wire::Sandbox::None) {
        confine::signals()?;
    }
    let outcome = lock(&dir).and_then(|_lock| watch::serve(&mut runtime, &dir, spec));
    if let Err(error) = &outcome {
        let reason = error.to_string();
        let frame = match error.kind() {
            watch::SPOILT => FromKeeper::Spoilt { reason },
            _ => FromKeeper::Failed { reason },
        };
        // The runtime may be gone already; then nobody needs to know.
        let _ = wire::send(&mut runtime, &frame);
    }
    outcome
}

/// One keeper a session: held until this process ends.
fn lock(dir: &SessionDir) -> std::io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(dir.keeper_lock())?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return Err(std::io::Error::other("another keeper holds this session")),
        }
    }
}

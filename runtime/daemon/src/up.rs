//! `vestibule up`: run until told to stop.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use vestibule_runtime::{Config, Error, Home, Running, Scope};

/// How long `up` waits for the program that holds the home: a `vestibule chat` that was a little faster, or a
/// runtime that stops.
const HOME_PATIENCE: Duration = Duration::from_secs(5);

/// This very file, also after an upgrade has replaced it on disk.
pub fn program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Runs the runtime.
pub async fn up() -> anyhow::Result<()> {
    // Before anything starts: an early signal must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    let running = start(home, config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    running.stop().await?;
    Ok(())
}

async fn start(home: Home, config: Config) -> vestibule_runtime::Result<Running> {
    let begin = Instant::now();
    loop {
        match Running::start(home.clone(), config.clone(), Scope::Whole, program()).await {
            Err(Error::Locked(_)) if begin.elapsed() < HOME_PATIENCE => {}
            other => return other,
        }
    }
}

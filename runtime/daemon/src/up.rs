//! `vestibule up`: run until told to stop.

use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use vestibule_runtime::{Config, Home, Running, Scope};

/// This very file, also after an upgrade has replaced it on disk.
pub fn program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Runs the house.
pub async fn up() -> anyhow::Result<()> {
    // Before anything starts: an early signal must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let home = Home::from_env()?;
    let config = Config::load(&home)?;
    let running = Running::start(home, config, Scope::Whole, program()).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    running.stop().await?;
    Ok(())
}

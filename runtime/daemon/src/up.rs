//! `vestibule up`: run until told to stop.

use crate::cli::Level;
use std::io::IsTerminal;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use vestibule_runtime::{Config, Home, Running, Scope};

/// This very file, also after an upgrade has replaced it on disk.
pub fn program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Logs to standard error.
pub fn start_log(level: Level) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A log on a full disk must not take the thread with it that had something to say.
        .log_internal_errors(false)
        .init();
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

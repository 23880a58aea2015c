//! The one HTTP listener.
//!
//! Invariants:
//! - Nothing of a request reaches a plugin before its signature is verified on the raw body.
//! - A stranger keeps no verified request out: at no stage does one hold what others need.

mod connections;
mod replays;
mod seats;
mod signature;
mod webhook;

pub use signature::key as webhook_key;

use crate::error::{Error, Result};
use crate::house::House;
use axum::Router;
use axum::routing::any;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A port that is taken is tried for so long, and so often: a house that was killed lets go of it when the
/// last process that it was just starting has begun.
const BIND_PATIENCE: Duration = Duration::from_secs(2);
const BIND_STEP: Duration = Duration::from_millis(20);

/// Opens the listener and serves it until the house stops.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub async fn listen(house: &Arc<House>) -> Result<()> {
    let address = house.config.listen;
    let listener = bind(address).await.map_err(|error| {
        Error::Setup(format!(
            "cannot listen on {address}: {error}; set another `listen` in {}",
            house.home.config().display()
        ))
    })?;
    if let Ok(bound) = listener.local_addr() {
        let _ = house.listening.set(bound);
    }
    let routes = Router::new()
        .route("/webhook/{channel}/{account}", any(webhook::webhook))
        .fallback(webhook::nothing_here)
        .with_state(webhook::Webhooks::new(house));
    tokio::spawn(connections::serve(house.clone(), listener, routes));
    Ok(())
}

async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let deadline = Instant::now() + BIND_PATIENCE;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(BIND_STEP).await;
            }
            bound => return bound,
        }
    }
}

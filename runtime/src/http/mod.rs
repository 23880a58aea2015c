//! The one HTTP listener.
//!
//! Invariants:
//! - Nothing of a request reaches a plugin before its signature is verified on the raw body.
//! - A stranger keeps no verified request out: at no stage does a stranger hold what others need.
//! - A request that signs its body and was taken reaches no plugin again, also after a restart.
//! - It listens where the config says or not at all: a proxy or a platform knows no other port.

mod answer;
mod challenge;
mod connections;
mod replays;
mod signature;
mod slots;
mod webhook;

use crate::context::Context;
use crate::taken_webhooks;
use axum::Router;
use axum::routing::any;
use replays::Replays;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// A port that is taken is tried for so long, and so often: a runtime that was killed lets go of the port only when
/// the last process that it was just starting has begun.
const BIND_PATIENCE: Duration = Duration::from_secs(2);
const BIND_STEP: Duration = Duration::from_millis(20);

/// Opens the listener, unless it is open, and serves it until the runtime stops. Each account that takes webhooks
/// calls this before it starts: without one nothing is opened.
///
/// # Errors
/// Why it cannot be opened, and what to do: the port is taken, or the address is not this machine's. Call again.
pub async fn listen(context: &Arc<Context>) -> Result<(), String> {
    let _one_at_a_time = context.listener.opening().await;
    if context.listener.address().is_some() {
        return Ok(());
    }
    let taken = context.central.read(taken_webhooks::all).await;
    let taken =
        taken.map_err(|error| format!("the webhooks that were taken before cannot be read: {error}"))?;
    let address = context.config.listen;
    let opened = bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (at, listener) = opened.map_err(|error| {
        format!(
            "webhooks cannot be taken, because {address} cannot be listened on: {error}. It is tried again; free the \
             port, or set another `listen` in {} and start again",
            context.home.config().display()
        )
    })?;
    context.listener.opened(at);
    let routes = Router::new()
        .route("/webhook/{channel}/{account}", any(webhook::webhook))
        .fallback(webhook::nothing_here)
        .with_state(webhook::Webhooks::new(context, Replays::of(taken)));
    tokio::spawn(connections::serve(context.clone(), listener, routes));
    tracing::info!(%at, "webhooks are taken");
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

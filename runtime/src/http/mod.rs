//! The one HTTP listener.
//!
//! Invariant: nothing of a request reaches a plugin before its signature is verified on the raw body.

mod signature;
mod webhook;

use crate::error::{Error, Result};
use crate::house::House;
use axum::Router;
use axum::routing::any;
use std::sync::Arc;

/// Opens the listener and serves it until the house stops.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub async fn listen(house: &Arc<House>) -> Result<()> {
    let address = house.config.listen;
    let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
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
    let house = house.clone();
    tokio::spawn(async move {
        let stopping = async move { house.stopping().await };
        let served = axum::serve(listener, routes).with_graceful_shutdown(stopping).await;
        if let Err(error) = served {
            tracing::error!(%error, "the listener ended");
        }
    });
    Ok(())
}

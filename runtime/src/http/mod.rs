//! The one HTTP listener.
//!
//! Invariants:
//! - Nothing of a request reaches a plugin before its signature is verified on the raw body.
//! - Whoever says nothing keeps nobody out.

mod connections;
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
    tokio::spawn(connections::serve(house.clone(), listener, routes));
    Ok(())
}

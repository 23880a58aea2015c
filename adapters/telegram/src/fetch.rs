//! Files that came with messages, fetched one by one.

use crate::api::Api;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use vestibule_plugin_api::toolbox::pace::Backoff;
use vestibule_plugin_api::{Blob, PluginError};

/// The longest wait between two tries of one download.
const WAIT_LAST: Duration = Duration::from_secs(30);
/// How often a file's download is tried, and how long all that may take.
const DOWNLOADS: u32 = 3;
const FILE_PATIENCE: Duration = Duration::from_secs(160);

/// A file's bytes. Without them the agent still sees that there was a file.
pub async fn fetch(api: &Api, file_id: &str) -> Option<Blob> {
    let fetched = timeout(FILE_PATIENCE, attempts(api, file_id)).await;
    fetched.unwrap_or_else(|_| {
        tracing::warn!(reason = "it took too long", "a file was not fetched");
        None
    })
}

async fn attempts(api: &Api, file_id: &str) -> Option<Blob> {
    let mut wait = Backoff::default();
    for _ in 0..DOWNLOADS {
        match api.file(file_id).await {
            Ok(bytes) => return Some(bytes.into()),
            Err(error @ (PluginError::Refused { .. } | PluginError::Unsupported { .. })) => {
                tracing::warn!(reason = error.reason(), "a file was not fetched");
                return None;
            }
            Err(error) => {
                tracing::debug!(reason = error.reason(), "a file could not be fetched yet");
                sleep(wait.after(&error).min(WAIT_LAST)).await;
            }
        }
    }
    tracing::warn!("a file was not fetched");
    None
}

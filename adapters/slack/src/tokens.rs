//! Token rotation: the bot's token ends after some hours, and a refresh token, which Slack takes once, gets the next pair.
//!
//! The next pair is on disk before it is used. A crash between Slack's answer and that loses it: then the operator
//! installs the app again.

use crate::api::{Api, Pair};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::sleep;
use vestibule_plugin_api::toolbox::pace::Pace;
use vestibule_plugin_api::{PluginError, Result, Runtime, Secret, StateWrite, Timestamp};

/// Where the pair is kept.
const KEY: &str = "tokens";
/// A token that ends so soon is no longer used, in milliseconds.
const MARGIN_MS: i64 = 15 * 60 * 1_000;

/// What the operator gives for rotation.
pub struct Rotation {
    pub refresh: Secret,
    pub client_id: String,
    pub client_secret: Secret,
}

/// The pair that is in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// The refresh token of the config from which it all began: another one there begins anew.
    first: String,
    access: String,
    refresh: String,
    /// When the bot's token ends, in milliseconds since 1970.
    ends_at: i64,
}

impl Kept {
    /// How long it is used yet. Pure.
    fn left(&self, now: Timestamp) -> Duration {
        let left = self.ends_at.saturating_sub(MARGIN_MS).saturating_sub(now.0);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }
}

/// Gives the API the token that is good now.
///
/// # Errors
/// Slack gives none, or it cannot be kept.
pub async fn begin(api: &Api, runtime: &Runtime, rotation: &Rotation) -> Result<()> {
    let kept = kept(runtime, rotation).await?;
    match kept.filter(|kept| !kept.left(Timestamp::now()).is_zero()) {
        Some(kept) => api.use_token(&kept.access),
        None => rotate(api, runtime, rotation).await.map(drop),
    }
}

/// Gets the next token before each one ends.
pub async fn keep(api: Api, runtime: Runtime, rotation: Rotation) {
    let mut pace = Pace::new(runtime.clone());
    loop {
        let left = match kept(&runtime, &rotation).await {
            Ok(kept) => kept.map_or(Duration::ZERO, |kept| kept.left(Timestamp::now())),
            Err(error) => {
                sleep(pace.failed(&error).await).await;
                continue;
            }
        };
        sleep(left).await;
        match rotate(&api, &runtime, &rotation).await {
            Ok(()) => pace.works().await,
            Err(error) => sleep(pace.failed(&error).await).await,
        }
    }
}

/// The pair that is kept, if it comes of the refresh token that the config names.
async fn kept(runtime: &Runtime, rotation: &Rotation) -> Result<Option<Kept>> {
    let text = runtime.state_get(KEY).await?;
    let kept = text.and_then(|text| serde_json::from_str::<Kept>(&text).ok());
    Ok(kept.filter(|kept| kept.first == rotation.refresh.expose()))
}

async fn rotate(api: &Api, runtime: &Runtime, rotation: &Rotation) -> Result<()> {
    let first = rotation.refresh.expose().to_owned();
    let refresh = kept(runtime, rotation).await?.map_or(first.clone(), |kept| kept.refresh);
    let Pair { access, refresh, seconds } =
        api.refresh(&rotation.client_id, &rotation.client_secret, &refresh).await?;
    let ends_at =
        Timestamp::now().0.saturating_add(i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    let kept = Kept { first, access: access.clone(), refresh, ends_at };
    let text = serde_json::to_string(&kept).map_err(|error| PluginError::retry(error.to_string()))?;
    keep_pair(runtime, text).await?;
    tracing::info!("Slack gave the bot its next token");
    api.use_token(&access)
}

/// Writes the pair, again and again until it is on disk: the old one is good no more.
async fn keep_pair(runtime: &Runtime, text: String) -> Result<()> {
    vestibule_plugin_api::toolbox::inbox::persist(|| {
        runtime.state_set(vec![StateWrite::set_secret(KEY, text.clone())])
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        let kept = |ends_at| Kept { first: "f".into(), access: "a".into(), refresh: "r".into(), ends_at };
        for (ends_at, now, want) in [
            (MARGIN_MS + 5, 0, 5),
            (MARGIN_MS, 0, 0),
            (0, 0, 0),
            (i64::MIN, i64::MAX, 0),
            (MARGIN_MS + 43_200_000, 1_000, 43_199_000),
        ] {
            assert_eq!(kept(ends_at).left(Timestamp(now)).as_millis(), want, "{ends_at} {now}");
        }
    }
}

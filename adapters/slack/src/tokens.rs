//! Token rotation: the bot's token ends after some hours, and a refresh token, which Slack takes once, gets the next pair.
//!
//! The next pair is on disk before it is used. A crash between Slack's answer and that loses it: then the operator
//! installs the app again.

use crate::api::{Api, Pair};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::sleep;
use vestibule_plugin_api::toolbox::inbox::persist;
use vestibule_plugin_api::toolbox::pace::Pace;
use vestibule_plugin_api::{PluginError, Result, Runtime, Secret, StateWrite, Timestamp};

/// Where the pair is kept.
const KEY: &str = "tokens";
/// What is written before a refresh token is used: where nothing can be kept, it would be lost.
const TRIED: &str = "tokens/tried";
/// A token is no longer used so long before its end, or in the last quarter of its life.
const MARGIN_MS: i64 = 15 * 60 * 1_000;
/// How often the clock is looked at: it may jump, and stands still for a machine that sleeps only by one of its hands.
const LOOK: Duration = Duration::from_secs(60);
/// The lives of tokens that are believed, in seconds.
const LIVES: std::ops::RangeInclusive<u64> = 4..=31_536_000;

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
    /// When the bot's token ends, in milliseconds since 1970, and how long it lives.
    ends_at: i64,
    lives_ms: i64,
}

impl Kept {
    /// How long it is used yet. Pure.
    fn left(&self, now: Timestamp) -> Duration {
        let margin = MARGIN_MS.min(self.lives_ms / 4);
        let left = self.ends_at.saturating_sub(margin).saturating_sub(now.0);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }
}

/// The renewal of one account's token. Cheap to clone.
#[derive(Clone)]
pub struct Renewal(Arc<Shared>);

struct Shared {
    api: Api,
    runtime: Runtime,
    rotation: Rotation,
    /// Held from a call to Slack until its answer is on disk.
    turn: Mutex<()>,
}

impl Renewal {
    /// Gives the API the token that is good now.
    ///
    /// # Errors
    /// Slack gives none, or it cannot be kept.
    pub async fn begin(api: &Api, runtime: &Runtime, rotation: Rotation) -> Result<Renewal> {
        let shared = Shared { api: api.clone(), runtime: runtime.clone(), rotation, turn: Mutex::default() };
        let renewal = Renewal(Arc::new(shared));
        let (kept, now) = (renewal.0.kept().await?, Timestamp::now());
        match kept {
            Some(kept) if !kept.left(now).is_zero() => api.use_token(&kept.access)?,
            Some(kept) if kept.ends_at > now.0 => {
                api.use_token(&kept.access)?;
                // It is good a little longer: that Slack renews none now is no reason not to start.
                if let Err(error) = renewal.renew().await {
                    tracing::warn!(reason = error.reason(), "the bot's token is not renewed yet");
                }
            }
            _ => renewal.renew().await?,
        }
        Ok(renewal)
    }

    /// Gets the next token before each one ends.
    pub async fn keep(self, mut pace: Pace) {
        loop {
            let left = match self.0.kept().await {
                Ok(kept) => kept.map_or(Duration::ZERO, |kept| kept.left(Timestamp::now())),
                Err(error) => {
                    sleep(pace.failed(&error).await).await;
                    continue;
                }
            };
            if !left.is_zero() {
                sleep(left.min(LOOK)).await;
                continue;
            }
            match self.renew().await {
                Ok(()) => pace.works().await,
                Err(error) => sleep(pace.failed(&error).await).await,
            }
        }
    }

    /// Waits until no answer of Slack's is on its way to the disk.
    pub async fn settle(&self) {
        drop(self.0.turn.lock().await);
    }

    /// Gets the next pair. It goes on though no caller waits: what Slack gave is given once.
    async fn renew(&self) -> Result<()> {
        let shared = self.0.clone();
        let account = shared.runtime.clone();
        let renewing = tokio::spawn(account.named(async move {
            let _turn = shared.turn.lock().await;
            shared.rotate().await
        }));
        renewing.await.map_err(|error| PluginError::retry(error.to_string()))?
    }
}

impl Shared {
    /// The pair that is kept, if it comes of the refresh token that the config names.
    async fn kept(&self) -> Result<Option<Kept>> {
        let text = self.runtime.state_get(KEY).await?;
        let kept = text.and_then(|text| serde_json::from_str::<Kept>(&text).ok());
        Ok(kept.filter(|kept| kept.first == self.rotation.refresh.expose()))
    }

    async fn rotate(&self) -> Result<()> {
        let Rotation { refresh, client_id, client_secret } = &self.rotation;
        let kept = self.kept().await?;
        // Another renewal may have been before this one.
        if let Some(kept) = kept.as_ref().filter(|kept| !kept.left(Timestamp::now()).is_zero()) {
            return self.api.use_token(&kept.access);
        }
        self.runtime.state_set(vec![StateWrite::set(TRIED, Timestamp::now().0.to_string())]).await?;
        let first = refresh.expose().to_owned();
        let refresh = kept.map_or(first.clone(), |kept| kept.refresh);
        let Pair { access, refresh, seconds } = self.api.refresh(client_id, client_secret, &refresh).await?;
        let lives = seconds.clamp(*LIVES.start(), *LIVES.end());
        let lives_ms = i64::try_from(lives).unwrap_or(0).saturating_mul(1_000);
        let ends_at = Timestamp::now().0.saturating_add(lives_ms);
        let kept = Kept { first, access: access.clone(), refresh, ends_at, lives_ms };
        let text = serde_json::to_string(&kept).map_err(|error| PluginError::retry(error.to_string()))?;
        // Again and again until it is on disk: the old pair is good no more.
        persist(|| self.runtime.state_set(vec![StateWrite::set_secret(KEY, text.clone())])).await?;
        tracing::info!("Slack gave the bot its next token");
        self.api.use_token(&access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_shortly_before_its_end() {
        let kept = |ends_at, lives_ms| Kept {
            first: "f".into(),
            access: "a".into(),
            refresh: "r".into(),
            ends_at,
            lives_ms,
        };
        let half_a_day = 43_200_000;
        for (ends_at, lives_ms, now, want) in [
            (half_a_day, half_a_day, 0, 43_200_000 - 900_000),
            (half_a_day, half_a_day, 42_300_000, 0),
            (half_a_day, half_a_day, 42_299_999, 1),
            // A short life is used for three quarters.
            (4_000, 4_000, 0, 3_000),
            (0, half_a_day, 0, 0),
            (i64::MIN, half_a_day, i64::MAX, 0),
        ] {
            let left = kept(ends_at, lives_ms).left(Timestamp(now)).as_millis();
            assert_eq!(left, want, "{ends_at} {lives_ms} {now}");
        }
    }
}

//! `/webhook/<channel>/<account>`: bounded, verified, then the plugin's.

use super::replays::{Replays, Seen};
use super::signature;
use crate::house::House;
use crate::plugins::{CallError, Link};
use crate::{clock, config};
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use vestibule_plugin_api::{Capability, PluginError, WebhookRequest};

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a channel may take to answer; GitHub waits 10 s.
const ANSWER_DEADLINE: Duration = Duration::from_secs(9);
/// How long a webhook waits for a plugin that is just being replaced.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(5);
/// How many requests are served at once; more are told to come again.
const AT_ONCE_MAX: usize = 64;

/// What every webhook needs.
#[derive(Clone)]
pub struct Webhooks {
    house: Arc<House>,
    at_once: Arc<Semaphore>,
    replays: Replays,
}

impl Webhooks {
    /// The webhooks of a house.
    pub fn new(house: &Arc<House>) -> Webhooks {
        let at_once = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Webhooks { house: house.clone(), at_once, replays: Replays::default() }
    }
}

type Refusal = (StatusCode, String);

fn refuse<T>(status: StatusCode, words: impl Into<String>) -> Result<T, Refusal> {
    Err((status, words.into()))
}

/// Any other path.
pub async fn nothing_here() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "nothing is here; webhooks go to /webhook/<channel>/<account>\n")
}

/// One request of a platform.
pub async fn webhook(
    State(webhooks): State<Webhooks>,
    Path((channel, account)): Path<(String, String)>,
    request: Request,
) -> Response {
    let answered = answer(&webhooks, &channel, &account, request).await;
    let (status, words) = answered.unwrap_or_else(|(status, words)| {
        tracing::warn!(channel, account, status = status.as_u16(), words, "a webhook was refused");
        (status, words)
    });
    (status, format!("{words}\n")).into_response()
}

async fn answer(
    webhooks: &Webhooks,
    channel: &str,
    account: &str,
    request: Request,
) -> Result<(StatusCode, String), Refusal> {
    let house = &webhooks.house;
    let unknown =
        || (StatusCode::NOT_FOUND, "no such webhook; `vestibule status` shows their URLs".to_owned());
    let link = house.registry.channel(channel).filter(|link| link.manifest.can(Capability::Webhook));
    let link = link.filter(|link| link.accounts().contains_key(account)).ok_or_else(unknown)?;
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "webhooks are posted");
    }
    let Ok(_permit) = webhooks.at_once.try_acquire() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; come again");
    };
    let key = signature::key(&link.manifest);
    let secret = secret(&link, account, key)?;
    let (parts, body) = request.into_parts();
    let body = read(body, house.config.webhook_body_limit).await?;
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let signature = signature::verify(&link.manifest, &secret, header, &body, clock::now())
        .map_err(|why| (StatusCode::UNAUTHORIZED, why.to_owned()))?;
    let serving = match webhooks.replays.begin(channel, account, signature) {
        Seen::New(serving) => serving,
        Seen::Taken => return Ok((StatusCode::OK, "it was taken before".to_owned())),
        Seen::Serving => {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the same is being taken; send it again");
        }
    };
    let scheme = (link.manifest.webhook, link.manifest.hmac.clone());
    // Not every platform sends again: while a plugin is being replaced, its events wait a little.
    let begin = Instant::now();
    let link = house.registry.soon_live(channel, account, HANDOVER_PATIENCE).await;
    // What was verified by one scheme says nothing to a channel of another.
    let same = |link: &Arc<Link>| (link.manifest.webhook, link.manifest.hmac.clone()) == scheme;
    let Some(link) = link.filter(same) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the channel is not live yet; send it again");
    };
    let headers = parts.headers.iter();
    let headers =
        headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let request = WebhookRequest {
        method: parts.method.to_string(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body,
    };
    match link.webhook(account, request, ANSWER_DEADLINE.saturating_sub(begin.elapsed())).await {
        Ok(head) => {
            let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::OK);
            if status.is_success() {
                serving.taken();
            }
            Ok((status, head.body))
        }
        Err(CallError::Plugin(PluginError::Refused { reason })) => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, reason)
        }
        Err(error) => {
            tracing::error!(channel, account, %error, "a webhook was not taken");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "it was not taken; send it again")
        }
    }
}

fn secret(link: &Link, account: &str, key: &str) -> Result<String, Refusal> {
    let section = link.sections().get(account).cloned();
    let resolved = section.and_then(|section| config::resolve(&section, &link.manifest.secrets).ok());
    match resolved.as_ref().and_then(|config| config.get(key)).and_then(Value::as_str) {
        Some(secret) if !secret.is_empty() => Ok(secret.to_owned()),
        // Without a secret nothing can be verified, so nothing is taken.
        _ => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("this account has no {key}; set it in vestibule.toml"),
        ),
    }
}

async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    match tokio::time::timeout(BODY_DEADLINE, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(_)) => refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body is larger than {limit} bytes, or was cut off; `webhook_body_limit` sets the limit"
            ),
        ),
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
    }
}

//! `/webhook/<channel>/<account>`: bounded, verified, then handed to the plugin.

use super::answer::Answer;
use super::replays::{Replays, Seen, Serving};
use super::slots::Slot;
use super::{challenge, signature};
use crate::clock;
use crate::context::Context;
use crate::db::WriteTxn;
use crate::plugins::{CallError, Link, WebhookKey};
use crate::taken_webhooks;
use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use vestibule_plugin_api::wire::WebhookHead;
use vestibule_plugin_api::{Capability, Manifest, PluginError, WebhookRequest, WebhookScheme};
use vestibule_session::crash;

/// A body comes at this rate at least, in bytes a second, once the first moment has passed.
const BODY_RATE_MIN: u64 = 16 * 1024;
const BODY_FIRST: Duration = Duration::from_secs(2);
/// How long a body may take to arrive, however fast it comes.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a channel may take to answer; GitHub waits 10 s.
const ANSWER_DEADLINE: Duration = Duration::from_secs(9);
/// How long a webhook waits for a plugin that is just being replaced.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(5);
/// How many verified requests are served at once; more are told to come again.
const AT_ONCE_MAX: usize = 64;

/// What every webhook needs.
#[derive(Clone)]
pub struct Webhooks {
    context: Arc<Context>,
    at_once: Arc<Semaphore>,
    replays: Replays,
}

impl Webhooks {
    /// The webhooks of a runtime.
    pub fn new(context: &Arc<Context>, replays: Replays) -> Webhooks {
        let at_once = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Webhooks { context: context.clone(), at_once, replays }
    }

    /// The channel of an account that takes webhooks.
    fn channel(&self, channel: &str, account: &str) -> Option<Arc<Link>> {
        let link = self.context.plugins.registry.channel(channel);
        let link = link.filter(|link| link.manifest.can(Capability::Webhook))?;
        let takes_some = link.accounts().contains_key(account) && link.listener_of(account).is_none();
        takes_some.then_some(link)
    }

    /// Counts a refusal. Strangers invent accounts: those have one count together.
    fn count(&self, channel: String, account: String, status: StatusCode, words: &str) {
        let link = self.context.plugins.registry.channel(&channel);
        let known = link.is_some_and(|link| link.accounts().contains_key(&account));
        let account = known.then_some((channel, account));
        self.context.listener.refusals.note(account, status.as_u16(), words, clock::now());
    }
}

/// Why a request is refused, in the runtime's own words.
type Refusal = (StatusCode, String);

fn refuse<T>(status: StatusCode, words: impl Into<String>) -> Result<T, Refusal> {
    Err((status, words.into()))
}

/// The answer to any other path.
pub async fn nothing_here() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "nothing is here; webhooks go to /webhook/<channel>/<account>\n")
}

/// A request that is on its way. Its connection may be closed to make room for others, and then nothing goes on here: so
/// that is counted when this is dropped.
struct OnItsWay<'a> {
    webhooks: &'a Webhooks,
    slot: &'a Slot,
    channel: &'a str,
    account: &'a str,
}

impl OnItsWay<'_> {
    /// It gets an answer, which is counted by itself.
    fn ends(self) {
        std::mem::forget(self);
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        if self.slot.was_closed() {
            let (channel, account, words) =
                (self.channel, self.account, "it was closed to make room for others");
            tracing::warn!(channel, account, words, "a stranger's request was not read to its end");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            self.webhooks.count(channel.to_owned(), account.to_owned(), status, words);
        }
    }
}

/// Takes one request of a platform.
pub async fn webhook(
    State(webhooks): State<Webhooks>,
    Extension(slot): Extension<Arc<Slot>>,
    Path((channel, account)): Path<(String, String)>,
    request: Request,
) -> Response {
    let answer = match challenged(&webhooks, &channel, &account, &request) {
        Some(answer) => answer,
        None => {
            let on_its_way =
                OnItsWay { webhooks: &webhooks, slot: &slot, channel: &channel, account: &account };
            let verified = verified(&webhooks, &slot, &channel, &account, request).await;
            on_its_way.ends();
            match verified {
                Err(refusal) => Err(refusal),
                Ok(verified) => {
                    let served = serve(&webhooks, &channel, &account, verified).await;
                    return told(&webhooks, channel, account, served, "a webhook was refused");
                }
            }
        }
    };
    // The platform may have another secret; or it is not the platform.
    told(&webhooks, channel, account, answer, "a stranger was refused")
}

/// Answers, and counts and logs what is no success.
fn told(
    webhooks: &Webhooks,
    channel: String,
    account: String,
    answer: Result<Answer, Refusal>,
    refused: &str,
) -> Response {
    match answer {
        // What a plugin answers may be a word of its platform's protocol: nothing is added to it.
        Ok(answer) => {
            if let Some(why) = &answer.left_out {
                tracing::warn!(channel, account, why, "headers of a channel's answer are left out");
            }
            if !answer.status.is_success() {
                webhooks.count(channel, account, answer.status, &answer.body);
            }
            answer.into_response()
        }
        Err((status, words)) => {
            tracing::warn!(channel, account, status = status.as_u16(), words, "{refused}");
            webhooks.count(channel, account, status, &words);
            (status, format!("{words}\n")).into_response()
        }
    }
}

/// The answer to the question with which a platform tries the address, if a request is one that its channel knows.
fn challenged(
    webhooks: &Webhooks,
    channel: &str,
    account: &str,
    request: &Request,
) -> Option<Result<Answer, Refusal>> {
    if request.method() != Method::GET {
        return None;
    }
    let link = webhooks.channel(channel, account)?;
    let challenge = link.manifest.challenge.as_ref()?;
    let Some(token) = link.challenge_token(account) else {
        return Some(not_set(&link, account, &challenge.key));
    };
    let word = challenge::answer(challenge, &token, request.uri().query().unwrap_or_default());
    Some(match word {
        Ok(word) => Ok(Answer::text(StatusCode::OK, word)),
        Err(why) => refuse(StatusCode::FORBIDDEN, why),
    })
}

/// A request that its platform has signed.
struct Verified {
    /// The plugin by whose scheme it was verified.
    by: Arc<Link>,
    /// What it is known by, if its scheme signs it.
    signature: Option<signature::Signature>,
    parts: Parts,
    body: Vec<u8>,
}

/// Reads a request, and verifies it. Until then it is a stranger's: all that it holds is counted by its slot.
async fn verified(
    webhooks: &Webhooks,
    slot: &Slot,
    channel: &str,
    account: &str,
    request: Request,
) -> Result<Verified, Refusal> {
    let context = &webhooks.context;
    let by = webhooks.channel(channel, account).ok_or_else(|| {
        (StatusCode::NOT_FOUND, "no such webhook; `vestibule status` shows their URLs".to_owned())
    })?;
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "webhooks are posted");
    }
    let key = key(&by, account)?;
    let (parts, body) = request.into_parts();
    let limit = usize::try_from(context.config.webhook_body_limit).unwrap_or(usize::MAX);
    let body = read(slot, body, limit).await?;
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let signature = signature::verify(&by.manifest, &key, header, &body, clock::now())
        .map_err(|why| (StatusCode::UNAUTHORIZED, why.to_owned()))?;
    if !slot.is_verified() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "its connection was closed for another");
    }
    Ok(Verified { by, signature, parts, body })
}

/// Hands a verified request over, and answers what its channel says.
async fn serve(
    webhooks: &Webhooks,
    channel: &str,
    account: &str,
    verified: Verified,
) -> Result<Answer, Refusal> {
    let Verified { by, signature, parts, body } = verified;
    let serving = match signature.map(|signature| webhooks.replays.begin(channel, account, signature)) {
        None => None,
        Some(Seen::New(serving)) => Some(serving),
        Some(Seen::Taken) => return Ok(Answer::text(StatusCode::OK, "it was taken before")),
        Some(Seen::Serving) => {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "the same is being taken; send it again");
        }
    };
    let _place = place(webhooks)?;
    // Not every platform sends again: while a plugin is being replaced, its events wait a little.
    let begin = Instant::now();
    let link = webhooks.context.plugins.registry.soon_live(channel, account, HANDOVER_PATIENCE).await;
    // A request verified by one scheme means nothing to a channel of another.
    let Some(link) = link.filter(|link| signature::same_scheme(&link.manifest, &by.manifest)) else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the channel is not live yet; send it again");
    };
    let request = handed_over(&link.manifest, parts, body);
    let answer = link.webhook(account, request, ANSWER_DEADLINE.saturating_sub(begin.elapsed())).await;
    let answer = answered(channel, account, &link.manifest, answer)?;
    match serving {
        Some(serving) if answer.status.is_success() => taken(webhooks, serving).await.map(|()| answer),
        _ => Ok(answer),
    }
}

/// Notes that a request was taken: from now on the same one is not taken again. What did not come so far may come again.
async fn taken(webhooks: &Webhooks, serving: Serving) -> Result<(), Refusal> {
    let key = serving.key().clone();
    crash::point("webhook: its channel took it, nothing is on record");
    let noted = webhooks.context.central.write(move |db: &WriteTxn| taken_webhooks::note(db, &key)).await;
    match noted {
        Ok(()) => {
            crash::point("webhook: it is on record, its platform was not told");
            serving.taken();
            Ok(())
        }
        Err(error) => {
            tracing::debug!(%error, "that a webhook was taken could not be noted");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "it could not be noted; send it again")
        }
    }
}

/// One of the places for the requests that are served at once.
fn place(webhooks: &Webhooks) -> Result<OwnedSemaphorePermit, Refusal> {
    webhooks
        .at_once
        .clone()
        .try_acquire_owned()
        .or_else(|_| refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once; come again"))
}

fn handed_over(manifest: &Manifest, mut parts: Parts, body: Vec<u8>) -> WebhookRequest {
    // It has done what it is for, and a plugin might log it.
    if manifest.webhook == WebhookScheme::SecretHeader
        && let Some(terms) = manifest.terms()
    {
        parts.headers.remove(terms.header);
    }
    let headers = parts.headers.iter();
    let headers =
        headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    WebhookRequest {
        method: parts.method.to_string(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body,
    }
}

/// The answer to the platform, from what its channel has answered.
fn answered(
    channel: &str,
    account: &str,
    manifest: &Manifest,
    answer: Result<WebhookHead, CallError>,
) -> Result<Answer, Refusal> {
    let not_taken = || refuse(StatusCode::SERVICE_UNAVAILABLE, "it was not taken; send it again");
    match answer {
        Ok(head) => {
            let status = head.status;
            Answer::of_channel(manifest, head).map_or_else(
                || {
                    tracing::error!(channel, account, status, "the channel's answer has no status of HTTP");
                    not_taken()
                },
                Ok,
            )
        }
        Err(CallError::Plugin(PluginError::Refused { reason })) => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, reason)
        }
        Err(error) => {
            tracing::error!(channel, account, %error, "a webhook was not taken");
            not_taken()
        }
    }
}

/// Without a key nothing can be verified, so nothing is taken.
fn key(link: &Link, account: &str) -> Result<WebhookKey, Refusal> {
    let key = link.manifest.webhook_secret_key();
    link.webhook_key(account).map_or_else(|| not_set(link, account, key), Ok)
}

/// An account without one of the keys that its webhooks need.
fn not_set<T>(link: &Link, account: &str, key: &str) -> Result<T, Refusal> {
    let words = match link.is_live(account) {
        true => format!("this account has no {key}; set it in vestibule.toml"),
        false => "this account is not started; `vestibule status` shows why".to_owned(),
    };
    refuse(StatusCode::SERVICE_UNAVAILABLE, words)
}

/// Reads a stranger's body: of `limit` bytes at most, and as fast as bodies must come.
async fn read(slot: &Slot, body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let too_large = || {
        let words = format!("the body is larger than {limit} bytes; `webhook_body_limit` sets the limit");
        refuse(StatusCode::PAYLOAD_TOO_LARGE, words)
    };
    if body.size_hint().lower() > limit as u64 {
        return too_large();
    }
    let (begin, mut body, mut bytes) = (Instant::now(), body.into_data_stream(), Vec::new());
    loop {
        let part = poll_fn(|context| Pin::new(&mut body).poll_next(context));
        match timeout_at(begin + next_by(bytes.len()), part).await {
            Ok(Some(Ok(part))) if part.len() > limit - bytes.len() => return too_large(),
            Ok(Some(Ok(part))) => {
                slot.holds(part.len());
                bytes.extend_from_slice(&part);
            }
            Ok(Some(Err(_))) => return refuse(StatusCode::BAD_REQUEST, "the body was cut off"),
            Ok(None) => return Ok(bytes),
            Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"),
        }
    }
}

/// When the next byte of a body must have come, of which so many are here. Pure.
fn next_by(bytes: usize) -> Duration {
    let at_rate = Duration::from_millis((bytes as u64).saturating_mul(1000) / BODY_RATE_MIN);
    (BODY_FIRST + at_rate).min(BODY_DEADLINE)
}

#[cfg(test)]
mod tests {
    use super::super::slots::Slots;
    use super::*;
    use std::task::{Context as TaskContext, Poll};

    #[test]
    fn the_page_for_authors_says_how_long_a_webhook_has() {
        let words = format!("a `webhook` {} s", ANSWER_DEADLINE.as_secs());
        assert!(include_str!("../../../docs/write-a-channel.md").contains(&words), "{words}");
    }

    fn manifest(words: &str) -> Manifest {
        let text = format!(
            r#"{{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.2","channel_type":"x",
            "secrets":["webhook_secret"],{words}}}"#
        );
        Manifest::parse(text.as_bytes()).expect("it fits")
    }

    #[test]
    fn what_a_platform_is_told() {
        let head = |status: u16| Ok(WebhookHead { status, body: "told".into(), headers: Vec::new() });
        let plugin = |error: PluginError| Err(CallError::Plugin(error));
        let again = "it was not taken; send it again";
        for (answer, status, words) in [
            (head(200), 200, "told"),
            (head(202), 202, "told"),
            (head(400), 400, "told"),
            (head(503), 503, "told"),
            (head(101), 503, again),
            (head(999), 503, again),
            (plugin(PluginError::refused("not this")), 422, "not this"),
            (plugin(PluginError::retry("secret of the runtime")), 503, again),
            (Err(CallError::Late), 503, again),
        ] {
            let told = answered("x", "main", &manifest(r#""webhook":"github_sha256""#), answer);
            let (told, said) = told.map_or_else(|refusal| refusal, |answer| (answer.status, answer.body));
            assert_eq!((told.as_u16(), said.as_str()), (status, words));
        }
    }

    #[test]
    fn a_secret_in_a_header_reaches_no_plugin() {
        let request =
            Request::builder().uri("/x?a=b").header("X-Gitlab-Token", "s").header("x-hub-signature-256", "h");
        let parts = request.body(()).expect("a request").into_parts().0;
        for (words, headers) in [
            (
                r#""webhook":"secret_header","signing":{"header":"x-GITLAB-token"}"#,
                &["x-hub-signature-256"][..],
            ),
            (r#""webhook":"github_sha256""#, &["x-gitlab-token", "x-hub-signature-256"]),
        ] {
            let request = handed_over(&manifest(words), parts.clone(), b"body".to_vec());
            let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!((request.query.as_str(), names.as_slice()), ("a=b", headers));
        }
    }

    /// A body in parts of these sizes, which does not say beforehand how long it is.
    struct Parts(std::slice::Iter<'static, usize>);

    impl Stream for Parts {
        type Item = std::io::Result<Vec<u8>>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.next().map(|size| Ok(vec![7; *size])))
        }
    }

    #[test]
    fn a_body_is_read_up_to_its_limit_and_no_further() {
        let threads = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        threads.block_on(async {
            let slots = Arc::new(Slots::new(1 << 20));
            let slot = slots.slot([10, 0, 0, 1].into()).await.expect("a slot");
            for (sizes, taken) in [
                (&[][..], true),
                (&[9], true),
                (&[10], true),
                (&[11], false),
                (&[4, 6], true),
                (&[6, 4], true),
                (&[6, 5], false),
                (&[1, 1, 1, 7], true),
                (&[1, 1, 1, 8], false),
            ] {
                let length: usize = sizes.iter().sum();
                let parts = Body::from_stream(Parts(sizes.iter()));
                for body in [parts, Body::from(vec![7; length])] {
                    let read = read(&slot, body, 10).await;
                    let told = read.as_ref().map_or_else(|(status, _)| status.as_u16(), |_| 200);
                    assert_eq!(told, if taken { 200 } else { 413 }, "{sizes:?}");
                    assert!(read.is_err() || read == Ok(vec![7; length]));
                }
            }
        });
    }

    #[test]
    fn how_long_a_body_may_take() {
        for (bytes, seconds) in [(0, 2), (1, 2), (16 * 1024, 3), (64 * 1024, 6), (1 << 20, 10), (1 << 40, 10)]
        {
            assert_eq!(next_by(bytes).as_secs(), seconds, "{bytes}");
        }
    }
}

//! What an app missed: GitHub sends no event again by itself, but keeps for three days what became of each, and sends one
//! again when it is asked to.

use crate::account::Account;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use vestibule_plugin_api::{Result, Timestamp};

/// How often GitHub is asked what it could not deliver.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// So far back GitHub knows its deliveries, in milliseconds.
const KEPT_MS: i64 = 3 * 24 * 3_600 * 1_000;
/// After the first look so much before the last one is looked at again, for what was under way then.
const OVERLAP_MS: i64 = 3_600 * 1_000;
/// An attempt may be under way for so long.
const UNDER_WAY_MS: i64 = 30_000;
/// After so many attempts an event is given up.
const ATTEMPTS_MAX: usize = 5;
/// Deliveries in one page, how many pages are looked through, and how many events are asked for at once.
const PAGE: usize = 100;
const PAGES_MAX: usize = 20;
const AT_ONCE_MAX: usize = 200;

/// One attempt to deliver an event.
#[derive(Debug, Deserialize)]
struct Attempt {
    id: u64,
    /// The same for all attempts at one event.
    guid: String,
    delivered_at: String,
    status_code: i64,
    event: String,
}

impl Attempt {
    fn at(&self) -> i64 {
        self.delivered_at.parse::<jiff::Timestamp>().map_or(0, |at| at.as_millisecond())
    }

    /// Whether the event was not taken, and may be the next time. What was refused for what it says is not sent again.
    fn failed(&self) -> bool {
        matches!(self.status_code, i64::MIN..=0 | 404 | 408 | 429 | 500..)
    }
}

/// Asks again and again for what GitHub could not deliver.
pub async fn watch(account: Arc<Account>) {
    let mut since = Timestamp::now().0 - KEPT_MS;
    loop {
        let began = Timestamp::now().0;
        match look(&account, since).await {
            Ok(0) => since = began - OVERLAP_MS,
            Ok(count) => {
                tracing::info!(count, "GitHub is asked to send again what it could not deliver");
                since = began - OVERLAP_MS;
            }
            Err(error) => tracing::warn!(reason = error.reason(), "what was missed is not known yet"),
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Asks for what GitHub could not deliver since then; returns how many events.
async fn look(account: &Account, since: i64) -> Result<usize> {
    let Some(app) = account.api.app() else { return Ok(0) };
    let (mut attempts, mut cursor) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let path = format!("/app/hook/deliveries?per_page={PAGE}{cursor}");
        let answer = app.ask(&account.api.http, Method::GET, &path).await?;
        if !answer.is_success() {
            return Err(answer.no_start("GitHub does not tell the app of its deliveries"));
        }
        let page: Vec<Value> = answer.read()?;
        attempts.extend(page.into_iter().filter_map(|one| serde_json::from_value::<Attempt>(one).ok()));
        let is_enough = attempts.last().is_none_or(|oldest| oldest.at() < since);
        match answer.header("link").and_then(next_cursor).filter(|_| !is_enough) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let missed = missed(&attempts, since, Timestamp::now().0);
    for id in &missed {
        let path = format!("/app/hook/deliveries/{id}/attempts");
        let answer = app.ask(&account.api.http, Method::POST, &path).await?;
        if !answer.is_success() {
            return Err(answer.no_start("GitHub sends no event again"));
        }
    }
    Ok(missed.len())
}

/// The cursor of the next page, in a header `link`. Pure.
fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let cursor = next.split(['?', '&', '>']).find_map(|part| part.strip_prefix("cursor="))?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'%' | b'=' | b'.');
    (cursor.len() <= 200 && cursor.bytes().all(fits)).then(|| cursor.to_owned())
}

/// The last attempts at the events that were never taken, from the older to the newer. Pure.
fn missed(attempts: &[Attempt], since: i64, now: i64) -> Vec<u64> {
    let mut events: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts.iter().filter(|attempt| crate::map::is_used(&attempt.event)) {
        events.entry(&attempt.guid).or_default().push(attempt);
    }
    let last = |tries: &Vec<&Attempt>| {
        let newest = tries.iter().copied().max_by_key(|attempt| attempt.at())?;
        let is_missed = tries.iter().all(|attempt| attempt.failed()) && tries.len() < ATTEMPTS_MAX;
        let is_due = newest.at() >= since && newest.at() <= now - UNDER_WAY_MS;
        (is_missed && is_due).then(|| (newest.at(), newest.id))
    };
    let mut missed: Vec<(i64, u64)> = events.values().filter_map(last).collect();
    missed.sort_unstable();
    missed.into_iter().take(AT_ONCE_MAX).map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_events_are_asked_for_again() {
        let attempt = |id: u64, guid: &str, minute: u32, status_code: i64| Attempt {
            id,
            guid: guid.into(),
            delivered_at: format!("2026-11-30T10:{minute:02}:00Z"),
            status_code,
            event: "issue_comment".into(),
        };
        let at = |minute: i64| {
            let hour: jiff::Timestamp = "2026-11-30T10:00:00Z".parse().expect("a time");
            hour.as_millisecond() + minute * 60_000
        };
        let all = [
            attempt(1, "never", 2, 0),
            attempt(2, "twice", 1, 502),
            attempt(3, "twice", 3, 503),
            attempt(4, "taken later", 1, 503),
            attempt(5, "taken later", 3, 200),
            attempt(6, "refused", 1, 400),
            attempt(7, "left out", 1, 202),
            attempt(8, "unknown address", 4, 404),
            attempt(9, "under way", 10, 0),
        ];
        assert_eq!(missed(&all, at(0), at(10)), [1, 3, 8]);
        assert_eq!(missed(&all, at(3), at(10)), [3, 8], "what is older was asked for before");
        let tired: Vec<Attempt> = (0..5).map(|id| attempt(id, "tired", 1, 503)).collect();
        assert_eq!(missed(&tired, at(0), at(10)), [0; 0]);
        let unused = [Attempt { event: "push".into(), ..attempt(1, "x", 1, 0) }];
        assert_eq!(missed(&unused, at(0), at(10)), [0; 0]);
    }

    #[test]
    fn the_next_page_has_a_cursor() {
        for (link, want) in [
            (
                "<https://api.github.com/app/hook/deliveries?per_page=100&cursor=v1_2>; rel=\"next\"",
                Some("v1_2"),
            ),
            (
                "<https://x/?cursor=a>; rel=\"prev\", <https://x/?cursor=b&per_page=1>; rel=\"next\"",
                Some("b"),
            ),
            ("<https://x/?cursor=a>; rel=\"prev\"", None),
            ("<https://x/?cursor=a b>; rel=\"next\"", None),
            ("", None),
        ] {
            assert_eq!(next_cursor(link).as_deref(), want, "{link}");
        }
    }
}

//! What an app missed: GitHub sends no event again by itself, but keeps for three days what became of each, and sends one
//! again when it is asked to. An event that fails again is asked for after ever longer waits, as long as GitHub knows it.

use crate::account::Account;
use crate::app::App;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
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
/// An attempt may be under way for so long, in milliseconds.
const UNDER_WAY_MS: i64 = 30_000;
/// The wait after the second attempt at an event, in milliseconds; after each further one it is twice as long.
const SECOND_WAIT_MS: i64 = 600_000;
/// Deliveries in one page, how many pages are looked through, and how many events are asked for at once.
const PAGE: usize = 100;
const PAGES_MAX: usize = 100;
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
    /// Whether it is not the first attempt at its event.
    #[serde(default)]
    redelivery: bool,
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

/// What is kept from one look to the next.
struct Looking {
    /// So far back GitHub is asked, in milliseconds.
    since: i64,
    /// The attempts that GitHub does not repeat.
    refused: BTreeSet<u64>,
}

/// Asks again and again for what GitHub could not deliver.
pub async fn watch(account: Arc<Account>) {
    let mut looking = Looking { since: Timestamp::now().0 - KEPT_MS, refused: BTreeSet::new() };
    loop {
        match looking.look(&account).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "GitHub is asked to send again what it could not deliver"),
            Err(error) => tracing::warn!(reason = error.reason(), "not all that was missed is asked for yet"),
        }
        sleep(LOOK_EVERY).await;
    }
}

impl Looking {
    /// Asks for what GitHub could not deliver; returns how many events.
    async fn look(&mut self, account: &Account) -> Result<usize> {
        let (Some(app), began) = (account.api.app(), Timestamp::now().0) else { return Ok(0) };
        let attempts = attempts(account, app, self.since).await?;
        self.refused.retain(|id| attempts.iter().any(|attempt| attempt.id == *id));
        let missed = Missed::of(&attempts, &self.refused, began);
        let mut count = 0;
        for id in &missed.due {
            let path = format!("/app/hook/deliveries/{id}/attempts");
            let answer = app.ask(&account.api.http, Method::POST, &path).await?;
            match answer.status() {
                200..=299 => count += 1,
                400..=499 if answer.is_own() && answer.status() != 401 && answer.limit_ms().is_none() => {
                    tracing::warn!(
                        delivery = id,
                        answer = answer.words(),
                        "GitHub does not send an event again"
                    );
                    self.refused.insert(*id);
                }
                _ => return Err(answer.no_start("GitHub sends no event again")),
            }
        }
        // What is not taken yet is looked for until it is.
        self.since = missed.since.map_or(began - OVERLAP_MS, |since| since.min(began - OVERLAP_MS));
        Ok(count)
    }
}

/// The attempts since then, and a few older ones, the newest first.
async fn attempts(account: &Account, app: &App, since: i64) -> Result<Vec<Attempt>> {
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
            None => return Ok(attempts),
        }
    }
    let count = PAGES_MAX * PAGE;
    tracing::warn!(
        "GitHub has more than {count} deliveries since the last look: redeliver what older ones missed by hand, in the \
         app's settings under Advanced"
    );
    Ok(attempts)
}

/// The cursor of the next page, in a header `link`. Pure.
fn next_cursor(link: &str) -> Option<String> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    let cursor = next.split(['?', '&', '>']).find_map(|part| part.strip_prefix("cursor="))?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'%' | b'=' | b'.');
    (cursor.len() <= 200 && cursor.bytes().all(fits)).then(|| cursor.to_owned())
}

/// What was never taken.
#[derive(Debug, PartialEq)]
struct Missed {
    /// The last attempts at the events that are to be sent again now, from the older to the newer.
    due: Vec<u64>,
    /// When the first attempt was made at what may come yet.
    since: Option<i64>,
}

impl Missed {
    /// What these attempts did not bring. Pure.
    fn of(attempts: &[Attempt], refused: &BTreeSet<u64>, now: i64) -> Missed {
        let mut events: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
        for attempt in attempts.iter().filter(|attempt| crate::map::is_used(&attempt.event)) {
            events.entry(&attempt.guid).or_default().push(attempt);
        }
        let (mut due, mut since) = (Vec::new(), None);
        for tries in events.into_values() {
            // It is given up when GitHub does not know its first attempt any more.
            let first = tries.iter().filter(|attempt| !attempt.redelivery).map(|attempt| attempt.at()).min();
            let newest = tries.iter().max_by_key(|attempt| attempt.at());
            let (Some(first), Some(newest)) = (first, newest) else { continue };
            let is_open = tries.iter().all(|attempt| attempt.failed()) && !refused.contains(&newest.id);
            if !is_open || first < now - KEPT_MS {
                continue;
            }
            since = Some(since.map_or(first, |since: i64| since.min(first)));
            if newest.at().saturating_add(wait_ms(tries.len())) <= now {
                due.push((newest.at(), newest.id));
            }
        }
        due.sort_unstable();
        Missed { due: due.into_iter().take(AT_ONCE_MAX).map(|(_, id)| id).collect(), since }
    }
}

/// The wait after so many attempts at an event. Pure.
fn wait_ms(tries: usize) -> i64 {
    match tries {
        0 | 1 => UNDER_WAY_MS,
        _ => SECOND_WAIT_MS << (tries - 2).min(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Api, Auth, Http, OwnUser};
    use crate::map::Rules;
    use crate::stand_in::StandIn;

    /// A key that was made for tests, and is no one's.
    const KEY: &str = include_str!("../../../tests/fixtures/github/app.pem");

    /// The account of an app.
    fn account(base: &str) -> Account {
        let app = App::new("1", KEY, Some(7)).expect("a key");
        let own = OwnUser { id: 1, login: "app[bot]".into() };
        let rules = Rules { own, names: vec![], anyone: false, web: String::new() };
        Account { api: Api::new(Http::new(base).expect("a URL"), Auth::App(Box::new(app))), rules }
    }

    /// GitHub's refusal is its last word on an event; what a proxy says, or a limit, is not.
    #[tokio::test]
    async fn what_github_does_not_repeat_is_not_asked_for_again() {
        let own = r#"{"message":"no"}"#;
        for (status, headers, body, asked_at_each_look) in [
            (422, "", own, false),
            (404, "", own, false),
            (404, "", "<html>", true),
            (401, "", own, true),
            (403, "retry-after: 7\r\n", own, true),
            (502, "", own, true),
        ] {
            let failed = serde_json::json!([{ "id": 11, "guid": "g", "status_code": 0, "event": "issue_comment",
                "delivered_at": jiff::Timestamp::from_millisecond(Timestamp::now().0 - MINUTE).expect("a time").to_string() }]);
            let github = StandIn::start(move |asked| match &*asked.method {
                "POST" => (status, headers.to_owned(), body.to_owned()),
                _ => (200, String::new(), failed.to_string()),
            });
            let account = account(&github.url);
            let mut looking = Looking { since: 0, refused: BTreeSet::new() };
            let looks = (looking.look(&account).await, looking.look(&account).await);
            let asked = github.asked().iter().filter(|asked| asked.method == "POST").count();
            assert_eq!(asked, 1 + usize::from(asked_at_each_look), "{status} {body}: {looks:?}");
            assert_eq!(looks.0.is_err(), asked_at_each_look, "{status} {body}: {looks:?}");
        }
    }

    const MINUTE: i64 = 60_000;

    /// An attempt so many minutes after ten o'clock.
    fn attempt(id: u64, guid: &str, minute: i64, status_code: i64) -> Attempt {
        let at = jiff::Timestamp::from_millisecond(at(minute)).expect("a time");
        Attempt {
            id,
            guid: guid.into(),
            delivered_at: at.to_string(),
            status_code,
            event: "issue_comment".into(),
            redelivery: false,
        }
    }

    fn at(minute: i64) -> i64 {
        let hour: jiff::Timestamp = "2026-11-30T10:00:00Z".parse().expect("a time");
        hour.as_millisecond() + minute * MINUTE
    }

    fn again(id: u64, guid: &str, minute: i64, status_code: i64) -> Attempt {
        Attempt { redelivery: true, ..attempt(id, guid, minute, status_code) }
    }

    #[test]
    fn which_events_are_asked_for_again() {
        let all = [
            attempt(1, "never", 2, 0),
            attempt(2, "twice", 1, 502),
            again(3, "twice", 3, 503),
            attempt(4, "taken later", 0, 503),
            again(5, "taken later", 3, 200),
            attempt(6, "refused", 0, 400),
            attempt(7, "left out", 0, 202),
            attempt(8, "unknown address", 4, 404),
            attempt(9, "under way", 10, 0),
            again(10, "its first attempt is not known any more", 1, 0),
            attempt(11, "GitHub does not repeat it", 0, 0),
            Attempt { event: "push".into(), ..attempt(12, "not used", 0, 0) },
        ];
        let missed = |minute| Missed::of(&all, &[11].into(), at(minute));
        assert_eq!(missed(10), Missed { due: vec![1, 8], since: Some(at(1)) });
        assert_eq!(missed(13).due, [1, 3, 8, 9], "after the second attempt the wait is longer");
        let three_days = KEPT_MS / MINUTE;
        assert_eq!(missed(three_days + 2).due, [1, 8, 9], "what is older is given up");
        assert_eq!(missed(three_days + 11), Missed { due: vec![], since: None });
    }

    #[test]
    fn an_event_is_asked_for_as_long_as_github_knows_it() {
        let mut tries = vec![attempt(0, "e", 0, 503)];
        let mut asked = Vec::new();
        for minute in 1..KEPT_MS / MINUTE {
            let missed = Missed::of(&tries, &BTreeSet::new(), at(minute));
            assert_eq!(missed.since, Some(at(0)), "the next look goes back to its first attempt");
            if missed.due.is_empty() {
                continue;
            }
            let id = u64::try_from(tries.len()).expect("a few");
            tries.push(again(id, "e", minute, 503));
            asked.push(minute);
        }
        assert_eq!(asked, [1, 11, 31, 71, 151, 311, 631, 1_271, 2_551]);
    }

    #[test]
    fn what_is_too_much_for_one_look_comes_with_the_next() {
        let count = AT_ONCE_MAX as u64 + 50;
        let mut all: Vec<Attempt> = (0..count).map(|id| attempt(id, &format!("e{id}"), 0, 0)).collect();
        let first = Missed::of(&all, &BTreeSet::new(), at(10));
        assert_eq!((first.due.len(), first.since), (AT_ONCE_MAX, Some(at(0))));
        all.extend(first.due.iter().map(|id| again(1_000 + id, &format!("e{id}"), 10, 200)));
        let second = Missed::of(&all, &BTreeSet::new(), at(20));
        assert_eq!((second.due.len(), second.since), (50, Some(at(0))));
        all.extend(second.due.iter().map(|id| again(1_000 + id, &format!("e{id}"), 20, 200)));
        assert_eq!(Missed::of(&all, &BTreeSet::new(), at(30)), Missed { due: vec![], since: None });
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

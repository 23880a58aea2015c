//! How a channel handles messages and webhooks. Without its platform an error of the vocabulary is a
//! good answer; a panic, a lost call and an answer that the runtime cannot read never are.

use crate::asks;
use crate::report::Outcome;
use crate::trial::{Said, Trial};
use crate::work::{ODD_TEXTS, long_text};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use vestibule_plugin_api::wire::{self, Empty, Found, Request, WebhookHead};
use vestibule_plugin_api::{
    Attachment, Blob, Capability, Card, Content, Field, ID_BYTES_MAX, Link, Manifest, Offer, OutboundMessage,
    Receipt, WebhookRequest, Working,
};
use vestibule_seam::Frame;

/// Runs these checks.
pub async fn examine(trial: &mut Trial) {
    trial.check_live("text", text).await;
    trial.check_live("same id again", same_id).await;
    trial.check_live("empty text", async |trial| words(trial, "msg-conform-empty", "").await).await;
    trial.check_live("long text", long).await;
    trial.check_live("parts", parts).await;
    trial.check_live("odd text", odd).await;
    trial.check_live("unknown kind", unknown_kind).await;
    trial.check_live("unknown fields", unknown_fields).await;
    trial.check_live("files", files).await;
    trial.check_live("questions", questions).await;
    trial.check_live("changes", changes).await;
    trial.check_live("working", working).await;
    trial.check_live("find", find).await;
    trial.check_live("webhook", webhook).await;
    if trial.manifest().can(Capability::Listeners) {
        trial.check_live("listeners", listeners).await;
    }
    asks::examine(trial).await;
    trial.check_live("another account", another_account).await;
    trial.check_live("delivery", delivery).await;
}

/// How often a message is tried again when none was delivered, and how long between.
const LATE_TRIES: u32 = 10;
const LATE_PAUSE: Duration = Duration::from_millis(100);

/// Whether any message arrived: errors alone do not show that the channel works.
async fn delivery(trial: &Trial) -> Result<Outcome, String> {
    let counts =
        || (trial.deliveries.answered.load(Ordering::Relaxed), trial.deliveries.done.load(Ordering::Relaxed));
    // A platform that the checks before have hung up on may come back a moment later.
    for number in 0..LATE_TRIES {
        if counts().0 == 0 || counts().1 > 0 {
            break;
        }
        tokio::time::sleep(LATE_PAUSE).await;
        trial
            .deliver(trial.message(&format!("msg-conform-late-{number}"), "Is anybody there?"))
            .await
            .words()?;
    }
    let (answered, done) = counts();
    match (answered, done) {
        (0, _) => Ok(Outcome::Skipped("no check that delivers was made".into())),
        (_, 1..) => Ok(Outcome::Ok(format!("{done} of {answered} messages were delivered"))),
        (_, 0) => Err(format!(
            "none of {answered} messages was delivered, so it is not known what its replies become: name a chat that \
             there is with --chat and --thread, or let --peer COMMAND write to it first. A channel that delivers \
             nothing at all is examined with `--skip delivery`"
        )),
    }
}

async fn words(trial: &Trial, id: &str, text: &str) -> Result<Outcome, String> {
    Ok(Outcome::Ok(trial.deliver(trial.message(id, text)).await.words()?))
}

async fn text(trial: &Trial) -> Result<Outcome, String> {
    match trial.deliver(trial.message("msg-conform-1", "Hello from `vestibule plugin conform`.")).await {
        Said::Unsupported(_) => Err("it does not support text, the one kind every channel delivers".into()),
        said => Ok(Outcome::Ok(said.words()?)),
    }
}

/// Sends a message with the id of the first text, which was just sent.
async fn same_id(trial: &Trial) -> Result<Outcome, String> {
    let once = || trial.message("msg-conform-twice", "Sent twice, to be shown once if the channel can.");
    let (first, second) = (trial.deliver(once()).await, trial.deliver(once()).await);
    let (words, again) = (first.words()?, second.words()?);
    if !trial.manifest().can(Capability::Idempotent) {
        return Ok(Outcome::Ok(format!("{words}, then {again}; it does not claim `idempotent`")));
    }
    match (first, second) {
        (Said::Done(first), Said::Done(second)) if first == second => {
            Ok(Outcome::Ok("both are done, with the same receipt".into()))
        }
        (Said::Done(_), Said::Done(_)) => {
            Err("it claims `idempotent` and gave one id two receipts: it showed two \
                                               messages"
                .into())
        }
        (Said::Done(_), _) => Err(format!("it claims `idempotent` and the second time it answered {again}")),
        _ => Ok(Outcome::Ok(format!("{words}, then {again}: without its platform it cannot show more"))),
    }
}

async fn long(trial: &Trial) -> Result<Outcome, String> {
    let words = trial.deliver(trial.message("msg-conform-long", &long_text())).await.words()?;
    Ok(Outcome::Ok(format!("1 MiB: {words}")))
}

/// Delivers a text of several parts, and once more, as after a crash: what it told of as sent is not sent again.
async fn parts(trial: &Trial) -> Result<Outcome, String> {
    let message = || trial.message("msg-conform-parts", &"What is long goes out in parts. ".repeat(5_000));
    let first = match trial.deliver(message()).await {
        Said::Done(receipt) => receipt,
        said => {
            return Ok(Outcome::Ok(format!("{}: without its platform it cannot show more", said.words()?)));
        }
    };
    let told = || trial.runtime.sent_so_far().into_iter().filter(|(id, _)| id == "msg-conform-parts");
    let Some((_, all)) = told().next_back() else {
        return Ok(Outcome::Ok("it tells of no parts: a later attempt begins anew".into()));
    };
    let (count, parts) = (told().count(), all.parts);
    let again = OutboundMessage { sent_so_far: Some(all), ..message() };
    match trial.deliver(again).await {
        Said::Done(second) if second == first && told().count() == count => {
            Ok(Outcome::Ok(format!("{parts} parts, and none of them once more")))
        }
        Said::Done(_) => {
            Err("it was told that all parts had gone out, and sent again, or gave another receipt: go on \
                              from `sent_so_far`"
                .into())
        }
        said => Err(format!("it was told that all parts had gone out, and answered {}", said.words()?)),
    }
}

async fn odd(trial: &Trial) -> Result<Outcome, String> {
    let mut last = String::new();
    for (number, text) in ODD_TEXTS.iter().enumerate() {
        let said = trial.deliver(trial.message(&format!("msg-conform-odd-{number}"), text)).await;
        last = said.words().map_err(|why| format!("{}: {why}", text.escape_debug()))?;
    }
    Ok(Outcome::Ok(format!(
        "{} texts with control characters and the like, the last: {last}",
        ODD_TEXTS.len()
    )))
}

/// The first text's frame, with more in it.
fn changed(trial: &Trial, id: &str, change: impl FnOnce(&mut Value)) -> Frame {
    let mut request =
        serde_json::to_value(Request::Deliver { message: trial.message(id, "text") }).unwrap_or_default();
    change(&mut request["message"]);
    Frame::from_head(request.to_string().into_bytes())
}

async fn unknown_kind(trial: &Trial) -> Result<Outcome, String> {
    let frame = changed(trial, "msg-conform-kind", |message| {
        message["content"] = json!({ "kind": "conform-hologram", "light": 7 });
    });
    match trial.ask::<Receipt>(frame).await {
        Said::Unsupported(why) => Ok(Outcome::Ok(format!("unsupported: {why}"))),
        said => Err(format!(
            "a kind of content that it cannot know was answered {}; answer PluginError::unsupported, so that the \
             runtime neither takes it for delivered nor tries again",
            said.words()?
        )),
    }
}

async fn unknown_fields(trial: &Trial) -> Result<Outcome, String> {
    let frame = changed(trial, "msg-conform-fields", |message| {
        message["conform"] = json!({ "new": [1, 2] });
        message["subject"] = json!("Plans");
        message["metadata"] = json!({ "conform": "\u{20ac}\n" });
        message["content"]["conform"] = json!("new");
        message["address"]["conform"] = json!(null);
    });
    Ok(Outcome::Ok(trial.ask::<Receipt>(frame).await.words()?))
}

async fn files(trial: &Trial) -> Result<Outcome, String> {
    if !trial.manifest().can(Capability::Attachments) {
        let why = "it does not list `attachments`: the runtime names a reply's files in its text";
        return Ok(Outcome::Skipped(why.into()));
    }
    let file = |name: &str, bytes: usize| Attachment {
        name: name.into(),
        size_bytes: Some(bytes as u64),
        bytes: Some(Blob::from(vec![7; bytes])),
        ..Attachment::default()
    };
    let link = Attachment {
        name: "a link".into(),
        url: Some("https://example.org/".into()),
        ..Attachment::default()
    };
    let cases = [
        ("one file", vec![file("conform.bin", 1_000)]),
        ("an empty one", vec![file("empty.txt", 0)]),
        ("three with one name", vec![file("a", 1), file("a", 2), file("a", 3)]),
        ("names that are paths", vec![file("../../etc/passwd", 9), file("/tmp/conform", 9), file("", 9)]),
        ("8 MiB", vec![file("large.bin", 8 * 1024 * 1024)]),
        ("one without bytes", vec![link]),
    ];
    let (count, mut last) = (cases.len(), String::new());
    for (number, (what, attachments)) in cases.into_iter().enumerate() {
        let mut message = trial.message(&format!("msg-conform-file-{number}"), what);
        message.attachments = attachments;
        let said = trial.deliver(message).await;
        if let Said::Unsupported(_) = said {
            return Err(format!("{what}: it lists `attachments` and answered {}", said.words()?));
        }
        last = said.words().map_err(|why| format!("{what}: {why}"))?;
    }
    Ok(Outcome::Ok(format!("{count} messages with files, the last: {last}")))
}

async fn questions(trial: &Trial) -> Result<Outcome, String> {
    if !trial.manifest().can(Capability::Questions) {
        let why = "it does not list `questions`: the runtime numbers the answers in a text";
        return Ok(Outcome::Skipped(why.into()));
    }
    let question = |title: &str, question: &str, labels: &[&str]| Content::Question {
        title: title.into(),
        question: question.into(),
        options: (0..).zip(labels).map(|(number, label)| offer(number, label)).collect(),
    };
    let long = "\u{20ac}".repeat(ID_BYTES_MAX / 3);
    let many: Vec<&str> = (0..25).map(|_| "one of many").collect();
    let cases = [
        ("two answers", question("Deploy", "Now?", &["Yes", "No"])),
        ("no title", question("", "Now?", &["Yes"])),
        ("no question", question("Deploy", "", &["Yes"])),
        ("25 answers", question("Deploy", "When?", &many)),
        ("long words", question(&long, &"\u{20ac}".repeat(5_000), &[&long])),
    ];
    let (count, mut last) = (cases.len(), String::new());
    for (number, (what, content)) in cases.into_iter().enumerate() {
        let mut message = trial.message(&format!("msg-conform-question-{number}"), "");
        message.content = content;
        let said = trial.deliver(message).await;
        if let Said::Unsupported(_) = said {
            return Err(format!("{what}: it lists `questions` and answered {}", said.words()?));
        }
        last = said.words().map_err(|why| format!("{what}: {why}"))?;
    }
    Ok(Outcome::Ok(format!("{count} questions, the last: {last}")))
}

/// What is done to a message that was sent, and to one that never was, as far as the channel lists it; and cards.
async fn changes(trial: &Trial) -> Result<Outcome, String> {
    let sent = match trial.deliver(trial.message("msg-conform-changed", "This is changed.")).await {
        Said::Done(Receipt { platform_message_id: Some(id), .. }) => id,
        _ => "conform-none".to_owned(),
    };
    let emoji = |message_id: &str, emoji: &str| Content::Reaction {
        message_id: message_id.into(),
        emoji: emoji.into(),
    };
    let edit = |message_id: &str, text: &str| Content::Edit {
        message_id: message_id.into(),
        text: text.into(),
        further_message_ids: vec![],
    };
    let link = Link { label: "Open".into(), url: "https://example.org/".into() };
    let card = Card {
        title: "Build".into(),
        text: "It is **green**.".into(),
        fields: vec![Field { name: "Tests".into(), value: "12".into() }],
        links: vec![link],
        fallback: "Build: it is green".into(),
    };
    let cases = [
        (Capability::Edits, "an edit", edit(&sent, "It was changed.")),
        (Capability::Edits, "a long edit", edit(&sent, &long_text())),
        (Capability::Edits, "an edit of what was never sent", edit("conform-never", "x")),
        (Capability::Reactions, "a reaction", emoji(&sent, "👍")),
        (Capability::Reactions, "the same reaction again", emoji(&sent, "👍")),
        (Capability::Reactions, "a reaction by an unknown name", emoji(&sent, "no_such_emoji")),
        (Capability::Cards, "a card", Content::Card(card)),
        (
            Capability::Cards,
            "a bare card",
            Content::Card(Card { fallback: "Build".into(), ..Card::default() }),
        ),
        (
            Capability::Deletes,
            "a deletion",
            Content::Delete { message_id: sent.clone(), further_message_ids: vec![] },
        ),
        (
            Capability::Deletes,
            "the same deletion again",
            Content::Delete { message_id: sent, further_message_ids: vec![] },
        ),
    ];
    let (mut count, mut last) = (0, String::new());
    for (number, (capability, what, content)) in cases.into_iter().enumerate() {
        if !trial.manifest().can(capability) {
            continue;
        }
        let mut message = trial.message(&format!("msg-conform-change-{number}"), "");
        message.content = content;
        let said = trial.deliver(message).await;
        if let Said::Unsupported(_) = said {
            return Err(format!("{what}: it lists the capability and answered {}", said.words()?));
        }
        last = said.words().map_err(|why| format!("{what}: {why}"))?;
        count += 1;
    }
    if count == 0 {
        let why =
            "it lists none of `edits`, `deletes`, `reactions` and `cards`: the runtime makes texts of them";
        return Ok(Outcome::Skipped(why.into()));
    }
    Ok(Outcome::Ok(format!("{count} of them, the last: {last}")))
}

/// Says that an agent works, as the runtime does every few seconds.
async fn working(trial: &Trial) -> Result<Outcome, String> {
    let address = trial.message("", "").address;
    let ask = async |message_id: Option<&str>| {
        let working = Working { address: address.clone(), message_id: message_id.map(str::to_owned) };
        trial.ask::<Empty>(wire::frame(&Request::Working { working })).await
    };
    let (said, of_a_message) = (ask(None).await, ask(Some("conform-1")).await);
    if !trial.manifest().can(Capability::Working) {
        return match said {
            Said::Unsupported(_) => {
                Ok(Outcome::Skipped("it does not list `working`, and says `unsupported`".into()))
            }
            said => Err(format!("it does not list `working` and answers: {}", said.words()?)),
        };
    }
    match (said, of_a_message) {
        (Said::Unsupported(_), _) | (_, Said::Unsupported(_)) => {
            Err("it lists `working` and does not support it: write `async fn working` of `Channel`".into())
        }
        (said, of_a_message) => Ok(Outcome::Ok(format!("{}, then {}", said.words()?, of_a_message.words()?))),
    }
}

/// An offer as the runtime makes it.
fn offer(number: u32, label: &str) -> Offer {
    Offer { label: label.to_owned(), token: format!("0123456789abcdef0123456789abcdef.{number}") }
}

async fn find(trial: &Trial) -> Result<Outcome, String> {
    let sent = trial.message("msg-conform-1", "Hello from `vestibule plugin conform`.");
    let never = trial.message("msg-conform-never-sent", "This was never sent.");
    let ask = async |message| trial.ask::<Found>(wire::frame(&Request::Find { message })).await;
    let (sent, never) = (ask(sent).await, ask(never).await);
    let (found, other) = (sent.words()?, never.words()?);
    if !trial.manifest().can(Capability::Reconcilable) {
        return match sent {
            Said::Unsupported(_) => {
                Ok(Outcome::Skipped("it does not list `reconcilable`, and says `unsupported`".into()))
            }
            _ => Err(format!("it does not list `reconcilable` and answers `find`: {found}")),
        };
    }
    match (sent, never) {
        (Said::Unsupported(_), _) => Err("it lists `reconcilable` and does not support `find`".into()),
        (_, Said::Done(Found { receipt: Some(_) })) => {
            Err("it found a message that was never sent: the runtime would take it for delivered".into())
        }
        (Said::Done(Found { receipt }), _) => Ok(Outcome::Ok(match receipt {
            Some(_) => "it finds what was sent, and not what was never sent".into(),
            None => "it does not find the first text: right if that one failed".to_owned(),
        })),
        _ => Ok(Outcome::Ok(format!("{found}, then {other}"))),
    }
}

async fn webhook(trial: &Trial) -> Result<Outcome, String> {
    let ask = async |method: &str, query: &str, body: &[u8]| {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let (method, query, body) = (method.to_owned(), query.to_owned(), body.to_vec());
        let request = WebhookRequest { method, query, headers, body };
        trial.ask::<WebhookHead>(wire::webhook_frame(&trial.place.account, request)).await
    };
    if !trial.manifest().can(Capability::Webhook) {
        return match ask("POST", "", b"{}").await {
            Said::Unsupported(_) => {
                Ok(Outcome::Skipped("it does not list `webhook`, and says `unsupported`".into()))
            }
            said => Err(format!("it does not list `webhook` and answers one: {}", said.words()?)),
        };
    }
    let large = vec![b'['; 1024 * 1024];
    let mut statuses = Vec::new();
    for (what, method, query, body) in [
        ("an empty one", "POST", "", &b""[..]),
        ("an empty object", "POST", "", b"{}"),
        ("what is not UTF-8", "POST", "", b"\xff\xfe\x00"),
        ("a GET with a query", "GET", "hub.mode=subscribe&x=%00%ff", b""),
        ("1 MiB of brackets", "POST", "", &large),
    ] {
        match ask(method, query, body).await {
            Said::Done(head) => {
                if let Some(fault) = answer_fault(trial.manifest(), &head) {
                    return Err(format!("{what}: {fault}"));
                }
                statuses.push(head.status.to_string());
            }
            Said::Unsupported(_) => return Err("it lists `webhook` and does not support it".into()),
            said => drop(said.words().map_err(|why| format!("{what}: {why}"))?),
        }
    }
    let statuses = statuses.join(" ");
    Ok(Outcome::Ok(format!(
        "requests without sense are answered {statuses}; what a real one becomes needs its platform"
    )))
}

/// What the runtime would not send on of an answer.
fn answer_fault(manifest: &Manifest, head: &WebhookHead) -> Option<String> {
    if !(200..600).contains(&head.status) {
        return Some(format!("{} is no HTTP status of an answer", head.status));
    }
    let is_listed = |name: &str| manifest.answer_headers.iter().any(|one| one.eq_ignore_ascii_case(name));
    let (name, _) = head.headers.iter().find(|(name, _)| !is_listed(name))?;
    Some(format!(
        "its answer has the header `{}`, which its `answer_headers` do not list",
        name.escape_debug()
    ))
}

/// An account that names the examined one as its listener, with all that it has but what verifies its webhooks.
async fn listeners(trial: &Trial) -> Result<Outcome, String> {
    let (mut config, key) = (trial.config.clone(), trial.manifest().webhook_secret_key().to_owned());
    if let Some(config) = config.as_object_mut() {
        config.remove(&key);
    }
    let (account, listener) = ("conform-sibling".to_owned(), Some(trial.place.account.clone()));
    let folder = trial.folder(&account);
    let start = Request::Start { account: account.clone(), config, listener, siblings: Vec::new(), folder };
    let started = trial.ask::<Empty>(wire::frame(&start)).await;
    let stopped = trial.ask::<Empty>(wire::frame(&Request::Stop { account })).await;
    let words = started.words()?;
    if !matches!(started, Said::Done(_)) && words.contains(&key) {
        return Err(format!("it wants a `{key}` of an account that has a listener: {words}"));
    }
    Ok(Outcome::Ok(format!("{words}, then {}", stopped.words()?)))
}

async fn another_account(trial: &Trial) -> Result<Outcome, String> {
    let mut message = trial.message("msg-conform-account", "text");
    message.address.account = "conform-no-such-account".into();
    match trial.deliver(message).await {
        Said::Done(_) => Err("it delivered for an account that was never started".into()),
        said => Ok(Outcome::Ok(said.words()?)),
    }
}

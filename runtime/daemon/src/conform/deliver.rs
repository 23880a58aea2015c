//! What a channel does with messages and webhooks. Without its platform an error of the vocabulary is a
//! good answer; a panic, a lost call and an answer nobody can read never are.

use super::report::Outcome;
use super::trial::{Said, Trial};
use serde_json::{Value, json};
use vestibule_plugin_api::wire::{self, Found, Request, WebhookHead};
use vestibule_plugin_api::{
    Attachment, Blob, Capability, Content, ID_BYTES_MAX, Offer, Receipt, TEXT_BYTES_MAX, WebhookRequest,
};
use vestibule_seam::Frame;

/// How many deliveries are in flight at once.
const IN_FLIGHT: u32 = 256;
/// How many while memory is watched.
const IN_FLIGHT_WATCHED: u32 = 8;
/// How long the text of each is, so that one that is kept shows.
const WATCHED_TEXT_BYTES: usize = 16 * 1024;
/// Growth up to this is no leak: a whole run, in KiB.
const GROWTH_KIB: u64 = 1024;
/// So many more open descriptors are no leak.
const GROWTH_DESCRIPTORS: u64 = 16;

/// Runs these checks.
pub async fn examine(trial: &mut Trial) {
    trial.check_live("text", text).await;
    trial.check_live("same id again", same_id).await;
    trial.check_live("empty text", async |trial| words(trial, "msg-conform-empty", "").await).await;
    trial.check_live("long text", long).await;
    trial.check_live("odd text", odd).await;
    trial.check_live("unknown kind", unknown_kind).await;
    trial.check_live("unknown fields", unknown_fields).await;
    trial.check_live("files", files).await;
    trial.check_live("questions", questions).await;
    trial.check_live("find", find).await;
    trial.check_live("webhook", webhook).await;
    trial.check_live("another account", another_account).await;
    trial.check_live("many in flight", in_flight).await;
    trial.check_live("withdrawn calls", withdrawn).await;
    trial.check_live("memory and descriptors", memory).await;
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

/// The id of the first text: it was just sent.
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
    // Characters of three bytes: a cut in the middle of one would panic.
    let text = "\u{20ac}".repeat(TEXT_BYTES_MAX / 3);
    let words = trial.deliver(trial.message("msg-conform-long", &text)).await.words()?;
    Ok(Outcome::Ok(format!("1 MiB: {words}")))
}

async fn odd(trial: &Trial) -> Result<Outcome, String> {
    let mut last = String::new();
    let texts = [
        "\0\u{1b}[2J\u{7}",
        "\u{202e}abc\u{200f}",
        "\r\n\r\n",
        "{\"kind\":\"text\"}",
        "a\u{301}\u{1f469}\u{200d}\u{1f680}",
        "\u{feff}",
    ];
    for (number, text) in texts.iter().enumerate() {
        let said = trial.deliver(trial.message(&format!("msg-conform-odd-{number}"), text)).await;
        last = said.words().map_err(|why| format!("{}: {why}", text.escape_debug()))?;
    }
    Ok(Outcome::Ok(format!("{} texts with control characters and the like, the last: {last}", texts.len())))
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

/// An offer as the runtime makes it.
fn offer(number: u32, label: &str) -> Offer {
    Offer { label: label.to_owned(), token: format!("0123456789abcdef0123456789abcdef.{number}") }
}

async fn find(trial: &Trial) -> Result<Outcome, String> {
    let sent = trial.message("msg-conform-1", "Hello from `vestibule plugin conform`.");
    let never = trial.message("msg-conform-never-sent", "Nobody ever sent this.");
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
            Err("it found a message that nobody sent: the runtime would take it for delivered".into())
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
            Said::Done(head) if (100..600).contains(&head.status) => statuses.push(head.status.to_string()),
            Said::Done(head) => return Err(format!("{what}: {} is no HTTP status", head.status)),
            Said::Unsupported(_) => return Err("it lists `webhook` and does not support it".into()),
            said => drop(said.words().map_err(|why| format!("{what}: {why}"))?),
        }
    }
    let statuses = statuses.join(" ");
    Ok(Outcome::Ok(format!(
        "requests without sense are answered {statuses}; what a real one becomes needs its platform"
    )))
}

async fn another_account(trial: &Trial) -> Result<Outcome, String> {
    let mut message = trial.message("msg-conform-account", "text");
    message.address.account = "conform-no-such-account".into();
    match trial.deliver(message).await {
        Said::Done(_) => Err("it delivered for an account that was never started".into()),
        said => Ok(Outcome::Ok(said.words()?)),
    }
}

fn deliver(trial: &Trial, id: &str, text: &str) -> Frame {
    wire::frame(&Request::Deliver { message: trial.message(id, text) })
}

async fn in_flight(trial: &Trial) -> Result<Outcome, String> {
    let begin = std::time::Instant::now();
    let call = |number| trial.rig().begin(deliver(trial, &format!("msg-conform-many-{number}"), "many"));
    let calls: Vec<_> = (0..IN_FLIGHT).map(call).collect();
    let (mut done, mut other) = (0, None);
    for call in calls {
        match trial.hear::<Receipt>(call, trial.place.deadline).await {
            Said::Done(_) => done += 1,
            said => other = Some(said.words()?),
        }
    }
    let took = begin.elapsed().as_millis();
    let others = other.map_or(String::new(), |words| format!("; the others: {words}"));
    Ok(Outcome::Ok(format!("{IN_FLIGHT} at once are answered within {took} ms, {done} of them done{others}")))
}

async fn withdrawn(trial: &Trial) -> Result<Outcome, String> {
    for number in 0..IN_FLIGHT {
        let begun =
            trial.rig().begin(deliver(trial, &format!("msg-conform-withdrawn-{number}"), "withdrawn"));
        trial.rig().cancel(begun);
    }
    let words =
        trial.deliver(trial.message("msg-conform-after", "after the withdrawn ones")).await.words()?;
    Ok(Outcome::Ok(format!("{IN_FLIGHT} are withdrawn; a delivery then: {words}")))
}

/// What a process holds: memory in KiB, and descriptors.
fn holdings(pid: &str) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64);
    (memory, open)
}

/// The first quarter of the calls warms it up; the growth over the others is judged.
async fn memory(trial: &Trial) -> Result<Outcome, String> {
    let pid = trial.rig().pid().map_or("self".to_owned(), |pid| pid.to_string());
    let quarter = trial.place.calls / 4;
    let mut seen = Vec::new();
    let mut last = String::new();
    for round in 0..4 {
        last = deliveries(trial, round, quarter).await?;
        seen.push(holdings(&pid));
    }
    let calls = u64::from(quarter) * 3;
    match leak(&seen, calls) {
        Some(why) => Err(why),
        None => {
            let grown = seen[3].0.saturating_sub(seen[0].0);
            Ok(Outcome::Ok(format!(
                "{grown} KiB more after {calls} calls, {} in all; each: {last}",
                seen[3].0
            )))
        }
    }
}

/// What is held after each quarter, and how many calls lie between the first and the last. Pure.
fn leak(seen: &[(u64, u64)], calls: u64) -> Option<String> {
    let (&(memory, open), &(memory_last, open_last)) = (seen.first()?, seen.last()?);
    let grown = memory_last.saturating_sub(memory);
    let always = seen.windows(2).all(|pair| pair[1].0 > pair[0].0);
    if always && grown > GROWTH_KIB && grown * 1024 > calls * 1024 {
        return Some(format!(
            "its memory grows by {} bytes with each delivery: it keeps something",
            grown * 1024 / calls
        ));
    }
    let opened = open_last.saturating_sub(open);
    (opened > GROWTH_DESCRIPTORS).then(|| {
        format!("{opened} more descriptors are open after {calls} deliveries: it does not close them")
    })
}

/// So many deliveries, some at a time; answers what the last was answered.
async fn deliveries(trial: &Trial, round: u32, count: u32) -> Result<String, String> {
    let text = "x".repeat(WATCHED_TEXT_BYTES);
    let mut last = String::new();
    for part in 0..count.div_ceil(IN_FLIGHT_WATCHED) {
        let call = |number| {
            trial.rig().begin(deliver(trial, &format!("msg-conform-m-{round}-{part}-{number}"), &text))
        };
        let calls: Vec<_> = (0..IN_FLIGHT_WATCHED).map(call).collect();
        for call in calls {
            last = trial.hear::<Receipt>(call, trial.place.deadline).await.words()?;
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::leak;

    #[test]
    fn a_leak_grows_all_the_time() {
        for (what, seen, want) in [
            ("nothing grows", [(9_000, 20), (9_010, 20), (9_005, 21), (9_012, 20)], None),
            ("16 KiB a call", [(9_000, 20), (17_000, 20), (25_000, 20), (33_000, 20)], Some("16384 bytes")),
            ("it grew once", [(9_000, 20), (33_000, 20), (33_000, 20), (33_000, 20)], None),
            ("a little", [(9_000, 20), (9_100, 20), (9_200, 20), (9_300, 20)], None),
            (
                "files stay open",
                [(9_000, 20), (9_000, 60), (9_000, 90), (9_000, 120)],
                Some("100 more descriptors"),
            ),
        ] {
            let told = leak(&seen, 1_500);
            assert_eq!(told.is_some(), want.is_some(), "{what}: {told:?}");
            assert!(told.unwrap_or_default().contains(want.unwrap_or_default()), "{what}");
        }
    }
}

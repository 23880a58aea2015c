//! Reads GitHub's payloads. Pure.
//!
//! Everything that ends in an id or a URL is checked against GitHub's own alphabet first: a signature proves that GitHub
//! sent a payload, not that its contents are harmless.

use crate::api::OwnUser;
use crate::field::{Fault, Field, is_word};
use crate::written::{self, Written, object_of, repository};
use crate::{files, place};
use ring::digest;
use serde_json::Value;
use vestibule_plugin_api::toolbox::json;
use vestibule_plugin_api::{
    Accepted, Change, Changed, Ignored, InboundMessage, PlatformId, Sender, ThreadId, Timestamp,
    UNKNOWN_ACCOUNT, WebhookRequest,
};

/// The roles that may speak to the agent, where the account's config does not open it to all people.
const ROLES: [&str; 3] = ["OWNER", "MEMBER", "COLLABORATOR"];

/// The agent's own account, and the people who may speak to it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// As which user the account writes: its own comments are no messages.
    pub own: OwnUser,
    /// What counts as a mention: a login, and `ORGANISATION/TEAM`.
    pub names: Vec<String>,
    /// Whether people without a role in the repository are heard.
    pub anyone: bool,
    /// Where GitHub's pages are: `https://github.com`.
    pub web: String,
}

/// The meaning of a webhook's request.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// GitHub tries the webhook out.
    Pong,
    /// A person or a program wrote a comment, an issue or the like.
    Message(Box<InboundMessage>),
    /// What was written is edited or deleted.
    Change(Box<Change>),
    /// An event that is left out on purpose.
    Ignored {
        /// For the record.
        ignored: Ignored,
        /// For GitHub's page of deliveries.
        sentence: String,
    },
}

impl Reading {
    /// The chat of which it is.
    pub fn chat(&self) -> Option<&str> {
        match self {
            Reading::Pong | Reading::Ignored { .. } => None,
            Reading::Message(message) => Some(message.platform_id.as_str()),
            Reading::Change(change) => Some(change.platform_id.as_str()),
        }
    }
}

/// What was done to what an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Written,
    Edited,
    Deleted,
}

/// What an action means, if the channel uses it.
fn act(event: &str, action: &str) -> Option<Act> {
    let writes = match event {
        "issue_comment" | "pull_request_review_comment" | "discussion" | "discussion_comment" => "created",
        "issues" | "pull_request" => "opened",
        "pull_request_review" => "submitted",
        _ => return None,
    };
    match action {
        _ if action == writes => Some(Act::Written),
        "edited" => Some(Act::Edited),
        // Pull requests and reviews cannot be deleted.
        "deleted" if !event.starts_with("pull_request") || event.ends_with("_comment") => Some(Act::Deleted),
        _ => None,
    }
}

/// Reads a webhook's request.
///
/// # Errors
/// A sentence for the person who set the webhook up: it names the field that does not fit.
pub fn read_request(request: &WebhookRequest, payload: &Value, rules: &Rules) -> Result<Reading, Fault> {
    let event = event_of(request)?;
    match event {
        "ping" => Ok(Reading::Pong),
        _ => read_event(event, request.header("x-github-delivery"), payload, rules),
    }
}

/// The name of a request's event.
///
/// # Errors
/// It has none.
pub fn event_of(request: &WebhookRequest) -> Result<&str, Fault> {
    let Some(event) = request.header("x-github-event") else {
        return Err("The header X-GitHub-Event is missing: this does not come from a GitHub webhook.".into());
    };
    match is_word(event) {
        true => Ok(event),
        false => Err("The header X-GitHub-Event does not name an event.".into()),
    }
}

/// The body of a request.
///
/// # Errors
/// It is no JSON.
pub fn payload_of(request: &WebhookRequest) -> Result<Value, Fault> {
    event_of(request)?;
    json::read(&request.body)
        .map_err(|_| "The body is not JSON: set the webhook's content type to application/json.".to_owned())
}

/// Whether the channel uses this event at all.
pub fn is_used(event: &str) -> bool {
    const USED: [&str; 7] = [
        "issue_comment",
        "issues",
        "pull_request",
        "pull_request_review",
        "pull_request_review_comment",
        "discussion",
        "discussion_comment",
    ];
    USED.contains(&event)
}

/// An event that belongs to none of the accounts, for the record.
///
/// # Errors
/// As [`read_request`].
pub fn of_no_account(request: &WebhookRequest, payload: &Value) -> Result<Reading, Fault> {
    let (event, delivery) = (event_of(request)?, request.header("x-github-delivery"));
    let (payload, action) =
        (Field::root(payload), payload["action"].as_str().filter(|action| is_word(action)));
    let mut reading = unsupported(event, action, delivery, &payload)?;
    if let Reading::Ignored { ignored, sentence } = &mut reading {
        ignored.reason = UNKNOWN_ACCOUNT.into();
        *sentence =
            "ignored: no account has this installation of the app; add one with its `installation_id`".into();
    }
    Ok(reading)
}

fn read_event(event: &str, delivery: Option<&str>, payload: &Value, rules: &Rules) -> Result<Reading, Fault> {
    let payload = Field::root(payload);
    if !is_used(event) {
        return unsupported(event, None, delivery, &payload);
    }
    let action = payload.get("action").word()?;
    let Some(act) = act(event, action) else {
        return unsupported(event, Some(action), delivery, &payload);
    };
    let changes = payload.get("changes");
    if ["old_issue", "old_repository"].iter().any(|old| !changes.get(old).is_null()) {
        return transferred(event, action, &payload);
    }
    if act == Act::Edited && is_about_no_words(&changes) {
        return unsupported(event, Some(action), delivery, &payload);
    }
    let Some(written) = written::read(event, &payload) else {
        return unsupported(event, Some(action), delivery, &payload);
    };
    weigh(event, action, act, written?, &payload, rules)
}

/// Whether an edit moves something else than words, such as the branch that a pull request is for.
fn is_about_no_words(changes: &Field) -> bool {
    let named = changes.value.as_object().is_some_and(|changes| !changes.is_empty());
    named && changes.get("body").is_null() && changes.get("title").is_null()
}

/// A person or a program on GitHub.
fn person(user: &Field) -> Result<(u64, Sender), Fault> {
    let (id, login) = (user.get("id").id()?, user.get("login").login()?);
    let is_bot = user.get("type").value == "Bot";
    Ok((id, Sender { handle: id.to_string(), name: Some(login.to_owned()), is_bot, ..Sender::default() }))
}

/// Decides whether an event is a message, or a change to one.
fn weigh(
    event: &str,
    action: &str,
    act: Act,
    written: Written,
    payload: &Field,
    rules: &Rules,
) -> Result<Reading, Fault> {
    let object = &written.object;
    let (author_id, author) = person(&object.get("user"))?;
    let author_login = author.name.clone().unwrap_or_default();
    let (actor_id, mut actor) = match act {
        Act::Written => (author_id, author),
        Act::Edited | Act::Deleted => person(&payload.get("sender"))?,
    };
    let role = object.get("author_association").text()?;
    // The role is the author's, also where another person changes what they wrote.
    if actor_id == author_id {
        actor.standing = Some(role.to_lowercase()).filter(|role| !role.is_empty());
    }
    let timestamp = written.written_at.timestamp()?;
    let event_id = id_of_event(event, action, act, &written)?;
    let platform_id = PlatformId(format!("github:{}", written.repo));
    let login = actor.name.clone().unwrap_or_default();
    let left_out = |reason: &str, sentence: String| {
        let (event_id, platform_id) = (event_id.clone(), Some(platform_id.clone()));
        let ignored = Ignored { event_id, reason: reason.into(), platform_id, sender: Some(login.clone()) };
        Ok(Reading::Ignored { ignored, sentence })
    };
    if rules.own.is(actor_id, &login) {
        return left_out("own_message", "ignored: the agent did this itself".into());
    }
    let is_own = rules.own.is(author_id, &author_login);
    if !rules.anyone && !is_own && !ROLES.contains(&role) {
        return left_out("author_not_allowed", no_role(&written, &login));
    }
    if act == Act::Written && written.text().is_empty() && event == "pull_request_review" {
        return left_out("no_words", "ignored: a review without words; its comments are heard".into());
    }
    let message = Message { event_id, platform_id, actor, timestamp };
    match act {
        Act::Written => message.written(written, rules),
        Act::Edited | Act::Deleted => message.change(act, &written, rules),
    }
}

fn no_role(written: &Written, login: &str) -> String {
    format!(
        "ignored: {login} is no owner, member or collaborator of {}; set `anyone = true` in the account's config to \
         hear people without a role, too",
        written.repo
    )
}

/// What a message and a change have in common.
struct Message {
    event_id: String,
    platform_id: PlatformId,
    actor: Sender,
    timestamp: Timestamp,
}

impl Message {
    fn written(self, written: Written, rules: &Rules) -> Result<Reading, Fault> {
        let text = written.text();
        let message = InboundMessage {
            event_id: self.event_id,
            message_id: written.message.id(),
            platform_id: self.platform_id,
            thread_id: Some(ThreadId(written.thread.clone())),
            sender: self.actor,
            is_mention: rules.names.iter().any(|name| written.mentions(name)),
            attachments: files::linked(&text, &rules.web),
            text,
            reply_to: written.code,
            timestamp: self.timestamp,
            is_group: true,
            ..InboundMessage::default()
        };
        match message.fault() {
            Some(fault) => Err(does_not_fit(&fault)),
            None => Ok(Reading::Message(Box::new(message))),
        }
    }

    fn change(self, act: Act, written: &Written, rules: &Rules) -> Result<Reading, Fault> {
        let what = match act {
            Act::Deleted => Changed::Deleted,
            _ => Changed::Edited {
                text: written.text(),
                is_mention: rules.names.iter().any(|name| written.mentions(name)),
            },
        };
        let changed_at = written.object.get("updated_at").timestamp().unwrap_or(self.timestamp);
        let change = Change {
            event_id: self.event_id,
            message_id: written.message.id(),
            platform_id: self.platform_id,
            thread_id: Some(ThreadId(written.thread.clone())),
            sender: self.actor,
            timestamp: changed_at,
            is_group: true,
            what,
        };
        match change.fault() {
            Some(fault) => Err(does_not_fit(&fault)),
            None => Ok(Reading::Change(Box::new(change))),
        }
    }
}

fn does_not_fit(fault: &str) -> Fault {
    format!("This event does not fit: {fault}.")
}

/// An issue that came from another repository is no new one, however it is announced.
fn transferred(event: &str, action: &str, payload: &Field) -> Result<Reading, Fault> {
    let (repo, object) = (repository(payload)?, payload.get(object_of(event)));
    let created = object.get("created_at");
    created.timestamp()?;
    let ignored = Ignored {
        event_id: event_id(event, action, object.get("id").id()?, created.text()?),
        reason: "transferred".into(),
        platform_id: Some(PlatformId(format!("github:{repo}"))),
        sender: payload.get("sender").get("login").login().ok().map(str::to_owned),
    };
    Ok(Reading::Ignored { ignored, sentence: "ignored: it was moved here, and is no new one".into() })
}

/// An event or action that the setup does not ask for. Its payload may have any shape, so a missing field is
/// left out, not refused.
fn unsupported(
    event: &str,
    action: Option<&str>,
    delivery: Option<&str>,
    payload: &Field,
) -> Result<Reading, Fault> {
    let (reason, what) = match action {
        Some(action) => ("unsupported_action", format!("the action `{action}` of the event `{event}`")),
        None => ("unsupported_event", format!("the event `{event}`")),
    };
    let named = action.and_then(|action| {
        let object = payload.get(object_of(event));
        let times = ["updated_at", "submitted_at", "created_at"].map(|key| object.get(key));
        let revision = times.into_iter().find(|field| field.timestamp().is_ok())?;
        Some(event_id(event, action, object.get("id").id().ok()?, revision.text().ok()?))
    });
    let delivered = || {
        let delivery = delivery.filter(|id| place::is_name(id))?;
        Some(format!("{event}/{}/{delivery}", action.unwrap_or("-")))
    };
    let Some(event_id) = named.or_else(delivered) else {
        return Err("The header X-GitHub-Delivery is missing or is no id.".into());
    };
    let platform_id = repository(payload).ok().map(|repo| PlatformId(format!("github:{repo}")));
    let sender = payload.get("sender").get("login").login().ok().map(str::to_owned);
    Ok(Reading::Ignored {
        ignored: Ignored { event_id, reason: reason.into(), platform_id, sender },
        sentence: format!("ignored: this channel does not use {what}"),
    })
}

fn id_of_event(event: &str, action: &str, act: Act, written: &Written) -> Result<String, Fault> {
    let (id, updated) = (written.object.get("id").id()?, written.object.get("updated_at"));
    Ok(match act {
        Act::Written => event_id(event, action, id, written.written_at.text()?),
        _ if updated.timestamp().is_ok() => event_id(event, action, id, updated.text()?),
        // Of an edited review GitHub does not always say when that was.
        _ => event_id(event, action, id, &fingerprint(&written.text())),
    })
}

fn fingerprint(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The id of an event: object, action, revision. The object's numeric id is unique on the whole of GitHub.
fn event_id(event: &str, action: &str, id: u64, revision: &str) -> String {
    format!("{event}/{action}/{id}/{revision}")
}

/// The sentence that GitHub's page of deliveries shows for an event that was taken.
pub fn outcome(accepted: &Accepted) -> String {
    match accepted {
        Accepted::Committed => "committed".into(),
        Accepted::Held => "held".into(),
        Accepted::Duplicate => "duplicate".into(),
        Accepted::Dropped { reason } => format!("dropped: {reason}"),
        Accepted::Unknown => "taken".into(),
    }
}

#[cfg(test)]
mod tests;

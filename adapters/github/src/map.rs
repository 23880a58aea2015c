//! Reads GitHub's payloads and our addresses. Pure.
//!
//! A payload is read field by field, so that the error names the field that does not fit. Everything that ends in an
//! id or a URL is checked against GitHub's own alphabet first: a signature proves that GitHub sent a payload,
//! not that its contents are harmless.

use crate::mention;
use serde_json::Value;
use vestibule_plugin_api::{
    Accepted, Address, Ignored, InboundMessage, PlatformId, ReplyTo, Sender, ThreadId, Timestamp,
    WebhookRequest,
};

/// The longest comment, in characters, that GitHub takes.
const COMMENT_CHARS_MAX: usize = 65_536;
/// The part of a comment that the text may take, in characters: our mark comes after it.
const TEXT_CHARS_MAX: usize = COMMENT_CHARS_MAX - 600;
/// The end of a comment that was cut.
const CUT_NOTE: &str = "\n\n*(The rest is left out: GitHub takes no longer comments.)*";
/// How far back a cut looks for the end of a line or word, in bytes.
const CUT_SEARCH_BYTES: usize = 2_000;
/// So much of the code that a review comment is about is quoted, in bytes: its end, where the commented line is.
const HUNK_BYTES_MAX: usize = 4_096;
/// The longest login or repository name that is believed. GitHub's own limits are 39 and 100.
const NAME_BYTES_MAX: usize = 100;
/// The roles that may speak to the agent, where the account's config does not open it to all people.
const ROLES: [&str; 3] = ["OWNER", "MEMBER", "COLLABORATOR"];

/// The agent's own account, and the people who may speak to it.
#[derive(Debug)]
pub struct Rules {
    /// Our own numeric id: our own comments are no messages.
    pub own_id: u64,
    /// The login that counts as a mention.
    pub mention: String,
    /// Whether people without a role in the repository are heard.
    pub anyone: bool,
}

/// The meaning of a webhook's request.
#[derive(Debug, PartialEq)]
pub enum Reading {
    /// GitHub tries the webhook out.
    Pong,
    /// A person or a program wrote a comment or an issue.
    Message(Box<InboundMessage>),
    /// An event that is left out on purpose.
    Ignored {
        /// For the record.
        ignored: Ignored,
        /// For GitHub's page of deliveries.
        sentence: String,
    },
}

/// One clear sentence that says what is wrong with a request.
type Fault = String;

/// Reads a webhook's request.
///
/// # Errors
/// A sentence for the person who set the webhook up: it names the field that does not fit.
pub fn read_request(request: &WebhookRequest, rules: &Rules) -> Result<Reading, Fault> {
    let Some(event) = request.header("x-github-event") else {
        return Err("The header X-GitHub-Event is missing: this does not come from a GitHub webhook.".into());
    };
    if !is_word(event) {
        return Err("The header X-GitHub-Event does not name an event.".into());
    }
    let payload = serde_json::from_slice(&request.body).map_err(|_| {
        "The body is not JSON: set the webhook's content type to application/json.".to_owned()
    })?;
    match event {
        "ping" => Ok(Reading::Pong),
        _ => read_event(event, request.header("x-github-delivery"), &payload, rules),
    }
}

fn read_event(event: &str, delivery: Option<&str>, payload: &Value, rules: &Rules) -> Result<Reading, Fault> {
    let payload = Field { value: payload, path: String::new() };
    let handled = match event {
        "issue_comment" | "pull_request_review_comment" => "created",
        "issues" => "opened",
        _ => return unsupported(event, None, delivery, &payload),
    };
    let action = payload.get("action").word()?;
    if action != handled {
        return unsupported(event, Some(action), delivery, &payload);
    }
    let changes = payload.get("changes");
    if ["old_issue", "old_repository"].iter().any(|old| !changes.get(old).value.is_null()) {
        return transferred(event, action, &payload);
    }
    let written = match event {
        "issue_comment" => issue_comment(&payload),
        "pull_request_review_comment" => review_comment(&payload),
        _ => opened_issue(&payload),
    }?;
    weigh(event, action, written, rules)
}

/// A comment or an issue, before its author is looked at.
struct Written<'a> {
    /// The comment or issue, for what all kinds have in common.
    object: Field<'a>,
    repo: String,
    thread: String,
    message_id: String,
    /// An issue's title: words without markup, but for code.
    title: Option<&'a str>,
    /// Markdown.
    body: &'a str,
    /// The code that it is about.
    code: Option<ReplyTo>,
}

impl Written<'_> {
    fn text(&self) -> String {
        match self.title {
            Some(title) => format!("{title}\n\n{}", self.body).trim_end().to_owned(),
            None => self.body.to_owned(),
        }
    }

    fn mentions(&self, login: &str) -> bool {
        self.title.is_some_and(|title| mention::in_title(title, login))
            || mention::in_markdown(self.body, login)
    }
}

fn issue_comment<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, comment, issue) = (repository(payload)?, payload.get("comment"), payload.get("issue"));
    Ok(Written {
        thread: conversation(&repo, &issue)?,
        message_id: comment.get("id").id()?.to_string(),
        title: None,
        body: comment.get("body").text()?,
        code: None,
        object: comment,
        repo,
    })
}

fn review_comment<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, comment) = (repository(payload)?, payload.get("comment"));
    let id = comment.get("id").id()?;
    let number = payload.get("pull_request").get("number").id()?;
    let root = match comment.get("in_reply_to_id") {
        field if field.value.is_null() => id,
        field => field.id()?,
    };
    Ok(Written {
        thread: format!("github:{repo}:{number}:rc:{root}"),
        message_id: id.to_string(),
        title: None,
        body: comment.get("body").text()?,
        code: code(&comment),
        object: comment,
        repo,
    })
}

/// The code that a review comment stands under: GitHub shows people the end of it, too. The place in the file is
/// given as the sender.
fn code(comment: &Field) -> Option<ReplyTo> {
    let hunk = comment.value["diff_hunk"].as_str().filter(|hunk| !hunk.is_empty())?;
    let path = comment.value["path"].as_str().filter(|path| !path.is_empty());
    let line = ["line", "original_line"].iter().find_map(|key| comment.value[key].as_u64());
    let mut text = &hunk[hunk.ceil_char_boundary(hunk.len().saturating_sub(HUNK_BYTES_MAX))..];
    if text.len() < hunk.len() {
        let whole_lines = text.split_once('\n').map(|(_, rest)| rest).filter(|rest| !rest.is_empty());
        text = whole_lines.unwrap_or(text);
    }
    let place = path.map(|path| line.map_or_else(|| path.to_owned(), |line| format!("{path}:{line}")));
    Some(ReplyTo { id: String::new(), sender: place, text: Some(text.to_owned()) })
}

fn opened_issue<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, issue) = (repository(payload)?, payload.get("issue"));
    let body = match issue.get("body") {
        body if body.value.is_null() => "",
        body => body.text()?,
    };
    Ok(Written {
        thread: conversation(&repo, &issue)?,
        message_id: format!("issue-{}", issue.get("id").id()?),
        title: Some(issue.get("title").text()?),
        body,
        code: None,
        object: issue,
        repo,
    })
}

/// Decides whether a comment or an issue is a message.
fn weigh(event: &str, action: &str, written: Written, rules: &Rules) -> Result<Reading, Fault> {
    let (text, is_mention) = (written.text(), written.mentions(&rules.mention));
    let Written { object, repo, thread, message_id, code, .. } = written;
    let user = object.get("user");
    let (user_id, login) = (user.get("id").id()?, user.get("login").login()?);
    let role = object.get("author_association").text()?;
    let created = object.get("created_at");
    let timestamp = created.timestamp()?;
    let event_id = event_id(event, action, object.get("id").id()?, created.text()?);
    let platform_id = PlatformId(format!("github:{repo}"));
    let left_out = |reason: &str, sentence: String| Reading::Ignored {
        ignored: Ignored {
            event_id: event_id.clone(),
            reason: reason.into(),
            platform_id: Some(platform_id.clone()),
            sender: Some(login.to_owned()),
        },
        sentence,
    };
    if user_id == rules.own_id {
        return Ok(left_out("own_message", "ignored: the agent wrote this itself".into()));
    }
    if !rules.anyone && !ROLES.contains(&role) {
        let sentence = format!(
            "ignored: {login} is no owner, member or collaborator of {repo}; set `anyone = true` in the \
             account's config to hear people without a role, too"
        );
        return Ok(left_out("author_not_allowed", sentence));
    }
    let message = InboundMessage {
        event_id,
        message_id,
        platform_id,
        thread_id: Some(ThreadId(thread)),
        sender: Sender {
            handle: user_id.to_string(),
            name: Some(login.to_owned()),
            is_bot: user.get("type").value == "Bot",
            standing: Some(role.to_lowercase()).filter(|role| !role.is_empty()),
            ..Sender::default()
        },
        is_mention,
        text,
        reply_to: code,
        timestamp,
        is_group: true,
        ..InboundMessage::default()
    };
    match message.fault() {
        Some(fault) => Err(format!("This event does not fit: {fault}.")),
        None => Ok(Reading::Message(Box::new(message))),
    }
}

/// An issue that came from another repository is no new one, however it is announced.
fn transferred(event: &str, action: &str, payload: &Field) -> Result<Reading, Fault> {
    let (repo, issue) = (repository(payload)?, payload.get("issue"));
    let created = issue.get("created_at");
    created.timestamp()?;
    let ignored = Ignored {
        event_id: event_id(event, action, issue.get("id").id()?, created.text()?),
        reason: "transferred".into(),
        platform_id: Some(PlatformId(format!("github:{repo}"))),
        sender: payload.get("sender").get("login").login().ok().map(str::to_owned),
    };
    Ok(Reading::Ignored { ignored, sentence: "ignored: the issue was moved here, it is no new one".into() })
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
        let object = payload.get(if event == "issues" { "issue" } else { "comment" });
        let (updated, created) = (object.get("updated_at"), object.get("created_at"));
        let revision = [updated, created].into_iter().find(|field| field.timestamp().is_ok())?;
        Some(event_id(event, action, object.get("id").id().ok()?, revision.text().ok()?))
    });
    let delivered = || {
        let delivery = delivery.filter(|id| is_name(id))?;
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

/// The id of an event: object, action, revision. The object's numeric id is unique on the whole of GitHub.
fn event_id(event: &str, action: &str, id: u64, revision: &str) -> String {
    format!("{event}/{action}/{id}/{revision}")
}

/// `owner/name`, checked.
fn repository(payload: &Field) -> Result<String, Fault> {
    let repository = payload.get("repository");
    let owner = repository.get("owner").get("login").name()?;
    let name = repository.get("name").name()?;
    let full = repository.get("full_name");
    match full.text()? == format!("{owner}/{name}") {
        true => Ok(format!("{owner}/{name}")),
        false => Err(full.fault("must be the owner's login, a slash, and the repository's name")),
    }
}

/// The thread of an issue, or of a pull request's conversation: GitHub says both in one field.
fn conversation(repo: &str, issue: &Field) -> Result<String, Fault> {
    let number = issue.get("number").id()?;
    Ok(match issue.get("pull_request").value.is_null() {
        true => format!("github:{repo}:issue:{number}"),
        false => format!("github:{repo}:{number}"),
    })
}

/// A value in the payload that remembers where it is, for the sentence that refuses it.
struct Field<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Field<'a> {
    /// A member; `null` if there is none.
    fn get(&self, key: &str) -> Field<'a> {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Field { value: self.value.get(key).unwrap_or(&Value::Null), path }
    }

    fn fault(&self, must: &str) -> Fault {
        format!("The payload's field `{}` {must}.", self.path)
    }

    fn id(&self) -> Result<u64, Fault> {
        let id = self.value.as_u64().filter(|id| *id > 0);
        id.ok_or_else(|| self.fault("must be a positive whole number"))
    }

    fn text(&self) -> Result<&'a str, Fault> {
        self.value.as_str().ok_or_else(|| self.fault("must be a text"))
    }

    fn word(&self) -> Result<&'a str, Fault> {
        let word = self.text()?;
        if is_word(word) { Ok(word) } else { Err(self.fault("must be one word in lower case")) }
    }

    fn name(&self) -> Result<&'a str, Fault> {
        let name = self.text()?;
        if is_name(name) { Ok(name) } else { Err(self.fault("is not a name that GitHub gives")) }
    }

    fn login(&self) -> Result<&'a str, Fault> {
        let login = self.text()?;
        login_fault(login).map_or(Ok(login), |_| Err(self.fault("is not a login that GitHub gives")))
    }

    fn timestamp(&self) -> Result<Timestamp, Fault> {
        // The length is bounded because the text becomes part of an event's id.
        let parsed = self.value.as_str().filter(|text| text.len() <= 40).and_then(|t| t.parse().ok());
        let time: jiff::Timestamp =
            parsed.ok_or_else(|| self.fault("must be a time in the form of RFC 3339"))?;
        Ok(Timestamp(time.as_millisecond()))
    }
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) && text != "." && text != ".."
}

/// Why a text is no login, if it is none. An app's login ends in `[bot]`.
pub fn login_fault(text: &str) -> Option<&'static str> {
    let fits = is_name(text.strip_suffix("[bot]").unwrap_or(text));
    (!fits).then_some("is not a login that GitHub gives")
}

/// Where a comment is posted.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// The path under the API's URL.
    pub path: String,
    /// The path of the list that it will be in.
    pub list: String,
    /// The permission a token needs for it, as GitHub's settings call it.
    pub permission: &'static str,
}

/// Where a message to this address is posted. The address is checked again: it has been stored, and
/// a URL is made of it.
///
/// # Errors
/// A sentence that says why nothing can be posted there.
pub fn target(address: &Address) -> Result<Target, Fault> {
    let Some(thread) = &address.thread_id else {
        return Err("a repository itself takes no comments: reply in an issue or a pull request".into());
    };
    decode(address.platform_id.as_str(), thread.as_str())
        .ok_or_else(|| format!("`{thread}` is no issue or pull request of `{}`", address.platform_id))
}

fn decode(chat: &str, thread: &str) -> Option<Target> {
    let (owner, name) = chat.strip_prefix("github:")?.split_once('/')?;
    if !is_name(owner) || !is_name(name) {
        return None;
    }
    let repo = format!("/repos/{owner}/{name}");
    let parts: Vec<&str> = thread.strip_prefix(chat)?.strip_prefix(':')?.split(':').collect();
    let comments = |issue| Some(format!("{repo}/issues/{}/comments", number(issue)?));
    let (path, list, permission) = match parts[..] {
        ["issue", issue] => (comments(issue)?, comments(issue)?, "Issues"),
        [pull] => (comments(pull)?, comments(pull)?, "Pull requests"),
        [pull, "rc", root] => {
            let list = format!("{repo}/pulls/{}/comments", number(pull)?);
            (format!("{list}/{}/replies", number(root)?), list, "Pull requests")
        }
        _ => return None,
    };
    Some(Target { path, list, permission })
}

/// The chat that a person means by `acme/widgets`, by its address on the web or by its own name.
pub fn typed(chat: &str) -> Option<PlatformId> {
    let chat = chat.trim();
    let at = chat.strip_prefix("https://").or(chat.strip_prefix("http://"));
    let path = match (at, chat.strip_prefix("github:")) {
        (Some(at), _) => at.split_once('/')?.1,
        (None, named) => named.unwrap_or(chat),
    };
    let mut parts = path.split(['/', '?', '#']);
    let (owner, name) = (parts.next()?, parts.next()?);
    // Only an address goes on: to an issue, or a page of it.
    let ends = at.is_some() || parts.next().is_none();
    let name = name.strip_suffix(".git").unwrap_or(name);
    (ends && is_name(owner) && is_name(name)).then(|| PlatformId(format!("github:{owner}/{name}")))
}

/// The unseen mark in the comment that shows this message: by it a comment is found again whose posting was cut off.
pub fn mark(message_id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("<!-- vestibule:{} -->", message_id.chars().map(plain).collect::<String>())
}

/// A little before that moment, as GitHub's `since` takes it: its clock is not ours.
pub fn moment(at: Timestamp) -> String {
    let at =
        jiff::Timestamp::from_millisecond(at.0 - CLOCKS_DIFFER_MS).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn number(text: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

/// GitHub's clock and ours may differ by this much, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 600_000;

/// Cuts a text to what GitHub takes, at the end of a line or word where there is one.
pub fn fit(text: String) -> String {
    if text.chars().count() <= TEXT_CHARS_MAX {
        return text;
    }
    let room = TEXT_CHARS_MAX - CUT_NOTE.chars().count();
    let end = text.char_indices().nth(room).map_or(text.len(), |(at, _)| at);
    let head = &text[..end];
    let near = |at: &usize| *at + CUT_SEARCH_BYTES > end;
    let boundary = head.rfind('\n').filter(near).or_else(|| head.rfind(char::is_whitespace).filter(near));
    format!("{}{CUT_NOTE}", &head[..boundary.unwrap_or(end)])
}

/// The sentence that GitHub's page of deliveries shows for a message that was taken.
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

//! Delivering: a long text becomes several comments. Each bears an unseen mark with the delivery's id and its number, by
//! which it is found again when GitHub's answer was lost, and how many were sent is kept.

use crate::answer::Purpose;
use crate::api::{Api, OwnUser};
use crate::place::{Message, Repo, Spot, place};
use crate::{files, graphql, react};
use reqwest::Method;
use serde_json::{Value, json};
use vestibule_plugin_api::toolbox::markdown::{self, Unit};
use vestibule_plugin_api::toolbox::sending::Sending;
use vestibule_plugin_api::{Content, OutboundMessage, PluginError, Receipt, Result, Runtime, Timestamp};

/// The longest comment, in characters, that GitHub takes.
const COMMENT_CHARS_MAX: usize = 65_536;
/// The part of a comment that the text may take, in characters: our mark comes after it.
pub const TEXT_CHARS_MAX: usize = COMMENT_CHARS_MAX - 600;
/// The longest title of an issue, in characters.
const TITLE_CHARS_MAX: usize = 256;
/// GitHub's clock and ours may differ by this much, in milliseconds.
const CLOCKS_DIFFER_MS: i64 = 600_000;
/// The key of a message's metadata that makes it a review, and GitHub's words for what it may say.
const REVIEW: &str = "review";
const VERDICTS: [(&str, &str); 3] =
    [("approve", "APPROVE"), ("request_changes", "REQUEST_CHANGES"), ("comment", "COMMENT")];

/// What a message becomes.
struct Outgoing<'a> {
    repo: Repo<'a>,
    spot: Spot,
    /// The title of the issue that it opens.
    title: Option<String>,
    /// What it says as a review, in GitHub's word.
    verdict: Option<&'static str>,
    parts: Vec<String>,
}

impl<'a> Outgoing<'a> {
    /// Reads a message. Pure.
    fn of(message: &'a OutboundMessage) -> Result<Outgoing<'a>> {
        let (repo, spot) = place(&message.address).map_err(PluginError::refused)?;
        let Content::Text { text } = &message.content else {
            return Err(PluginError::unsupported("this kind of content cannot be posted as a comment"));
        };
        let subject = message.subject.as_deref().map(str::trim).filter(|subject| !subject.is_empty());
        let title = match (spot, subject) {
            (Spot::Repository, Some(subject)) => Some(subject.chars().take(TITLE_CHARS_MAX).collect()),
            (Spot::Repository, None) => {
                return Err(PluginError::refused(
                    "a repository itself takes no comments: reply in an issue, a pull request or a discussion, or give \
                     the message a subject, and it opens an issue",
                ));
            }
            _ => None,
        };
        let verdict = verdict(message, spot)?;
        let mut text = text.clone();
        if let (None, Some(subject)) = (&title, subject) {
            text = format!("**{subject}**\n\n{text}");
        }
        let mut parts = markdown::source(&text, Unit::Characters, TEXT_CHARS_MAX);
        for file in &message.attachments {
            parts.extend(markdown::source(&files::as_text(file), Unit::Characters, TEXT_CHARS_MAX));
        }
        if parts.is_empty() && (title.is_some() || verdict == Some("APPROVE")) {
            parts.push(String::new());
        }
        match parts.is_empty() {
            true => Err(PluginError::refused("there is nothing to say: the text is empty")),
            false => Ok(Outgoing { repo, spot, title, verdict, parts }),
        }
    }

    fn purpose(&self) -> Purpose {
        Purpose { what: "the comment", permission: self.spot.permission() }
    }

    /// The parts, each with its mark.
    fn body(&self, id: &str, part: usize) -> String {
        format!("{}\n\n{}", self.parts[part], mark(id, part)).trim_start().to_owned()
    }
}

fn verdict(message: &OutboundMessage, spot: Spot) -> Result<Option<&'static str>> {
    let Some(word) = message.metadata.get(REVIEW) else { return Ok(None) };
    let found = VERDICTS.iter().find(|(known, _)| known == word).map(|(_, verdict)| *verdict);
    let verdict = found.ok_or_else(|| {
        PluginError::refused(format!("`{word}` is no review: write approve, request_changes or comment"))
    })?;
    match spot {
        Spot::Pull(_) => Ok(Some(verdict)),
        _ => Err(PluginError::refused("only a pull request can be reviewed: write in its conversation")),
    }
}

/// The unseen mark in the comment that shows this part of a message.
pub fn mark(message_id: &str, part: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let id: String = message_id.chars().map(plain).collect();
    if part == 0 { format!("<!-- vestibule:{id} -->") } else { format!("<!-- vestibule:{id}/{part} -->") }
}

/// Does what a message asks for: posts the parts that have not been posted, or changes what is there.
pub async fn deliver(api: &Api, runtime: &Runtime, message: OutboundMessage) -> Result<Receipt> {
    let (repo, spot) = place(&message.address).map_err(PluginError::refused)?;
    let read = |id: &str| Message::of(id, spot).map_err(PluginError::refused);
    match &message.content {
        Content::Edit { message_id, text, further_message_ids } => {
            edit(api, &repo, &read(message_id)?, text).await?;
            // What followed because it was too long for one comment belongs to the old words.
            for id in further_message_ids {
                delete(api, &repo, &read(id)?).await?;
            }
            Ok(Receipt::default())
        }
        Content::Delete { message_id, further_message_ids } => {
            // The first goes last: as long as it is there, the agent can ask for the rest again.
            for id in further_message_ids.iter().chain([message_id]) {
                delete(api, &repo, &read(id)?).await?;
            }
            Ok(Receipt::default())
        }
        Content::Reaction { message_id, emoji } => {
            react::add(api, &repo, &read(message_id)?, emoji, spot).await?;
            Ok(Receipt::default())
        }
        _ => post(api, runtime, &message).await,
    }
}

async fn post(api: &Api, runtime: &Runtime, message: &OutboundMessage) -> Result<Receipt> {
    let outgoing = Outgoing::of(message)?;
    let mut sending = Sending::of(runtime, &message.id, message.sent_so_far.clone(), outgoing.parts.len());
    let mut thread = Thread::of(&outgoing, message);
    if let Some(first) = message.sent_so_far.as_ref().and_then(|sent| sent.message_ids.first()) {
        thread.opened(first);
    }
    for part in sending.parts()..outgoing.parts.len() {
        let body = outgoing.body(&message.id, part);
        let id = thread.post(api, &outgoing, part, &body).await?;
        if let Some(id) = &id {
            thread.opened(id);
        }
        sending.went(id).await;
    }
    Ok(sending.receipt())
}

/// Where the parts of one delivery go, one after the other.
struct Thread<'a> {
    spot: Spot,
    /// The comment of a discussion that is answered.
    answers: Option<&'a str>,
    discussion: Option<(String, Option<String>)>,
}

impl<'a> Thread<'a> {
    fn of(outgoing: &Outgoing<'_>, message: &'a OutboundMessage) -> Thread<'a> {
        let answers = message.in_reply_to.as_deref().and_then(|id| id.strip_prefix("discussion_comment-"));
        Thread { spot: outgoing.spot, answers, discussion: None }
    }

    /// What follows the part that opened an issue stands beneath it.
    fn opened(&mut self, id: &str) {
        if let (Spot::Repository, Ok(Message::Issue(number))) = (self.spot, Message::of(id, self.spot)) {
            self.spot = Spot::Issue(number);
        }
    }

    /// Posts one part; returns its id, if GitHub says it.
    async fn post(
        &mut self,
        api: &Api,
        outgoing: &Outgoing<'_>,
        part: usize,
        body: &str,
    ) -> Result<Option<String>> {
        if let Spot::Discussion(number) = self.spot {
            let (discussion, parent) = self.discussion(api, outgoing, number).await?;
            let id = graphql::comment(api, discussion, parent.as_deref(), body).await?;
            return Ok(Some(Message::DiscussionComment(id).id()));
        }
        let repo = outgoing.repo.path();
        let comments = |number: u64| format!("{repo}/issues/{number}/comments");
        let verdict = outgoing.verdict.filter(|_| part == 0);
        let (path, body) = match (self.spot, verdict) {
            (Spot::Pull(number), Some(verdict)) => {
                (format!("{repo}/pulls/{number}/reviews"), json!({ "event": verdict, "body": body }))
            }
            (Spot::Review { pull, root }, _) => {
                (format!("{repo}/pulls/{pull}/comments/{root}/replies"), json!({ "body": body }))
            }
            (Spot::Issue(number) | Spot::Pull(number), _) => (comments(number), json!({ "body": body })),
            _ => (format!("{repo}/issues"), json!({ "title": outgoing.title, "body": body })),
        };
        let made = api.call(Method::POST, &path, Some(&body), outgoing.purpose()).await?;
        Ok(message_of(self.spot, verdict.is_some(), &made).map(|message| message.id()))
    }

    async fn discussion(
        &mut self,
        api: &Api,
        outgoing: &Outgoing<'_>,
        number: u64,
    ) -> Result<&(String, Option<String>)> {
        if self.discussion.is_none() {
            let parent = match self.answers.filter(|id| crate::place::is_node(id)) {
                Some(comment) => graphql::parent(api, comment).await?,
                None => None,
            };
            self.discussion = Some((graphql::discussion(api, &outgoing.repo, number).await?, parent));
        }
        self.discussion.as_ref().ok_or_else(|| PluginError::retry("the discussion is not known"))
    }
}

/// The message that GitHub says it has made, or has. Pure.
fn message_of(spot: Spot, is_review: bool, made: &Value) -> Option<Message> {
    let number = |key: &str| made[key].as_u64();
    match spot {
        _ if is_review => made["node_id"]
            .as_str()
            .filter(|id| crate::place::is_node(id))
            .map(|id| Message::Review(id.to_owned())),
        Spot::Repository => number("number").map(Message::Issue),
        Spot::Review { .. } => number("id").map(Message::ReviewComment),
        _ => number("id").map(Message::Comment),
    }
}

async fn edit(api: &Api, repo: &Repo<'_>, message: &Message, text: &str) -> Result<()> {
    let parts = markdown::source(text, Unit::Characters, TEXT_CHARS_MAX);
    let [body] = &parts[..] else {
        return Err(PluginError::refused(match parts.is_empty() {
            true => "the edit says nothing: delete the message instead".to_owned(),
            false => format!("a comment holds {TEXT_CHARS_MAX} characters on GitHub: send a new one"),
        }));
    };
    let path = match message {
        Message::DiscussionComment(id) => return graphql::update_comment(api, id, body).await,
        Message::Review(id) => return graphql::update_review(api, id, body).await,
        Message::Discussion(_) => {
            return Err(PluginError::refused("a discussion that a person began is not the agent's to edit"));
        }
        Message::Comment(id) => format!("{}/issues/comments/{id}", repo.path()),
        Message::ReviewComment(id) => format!("{}/pulls/comments/{id}", repo.path()),
        Message::Issue(number) | Message::Pull(number) => format!("{}/issues/{number}", repo.path()),
    };
    let purpose = Purpose { what: "the edit", permission: permission(message) };
    api.call(Method::PATCH, &path, Some(&json!({ "body": body })), purpose).await.map(drop)
}

fn permission(message: &Message) -> &'static str {
    match message {
        Message::Issue(_) | Message::Comment(_) => "Issues",
        Message::Pull(_) | Message::ReviewComment(_) | Message::Review(_) => "Pull requests",
        Message::Discussion(_) | Message::DiscussionComment(_) => "Discussions",
    }
}

async fn delete(api: &Api, repo: &Repo<'_>, message: &Message) -> Result<()> {
    let path = match message {
        Message::DiscussionComment(id) => return graphql::delete_comment(api, id).await,
        Message::Comment(id) => format!("{}/issues/comments/{id}", repo.path()),
        Message::ReviewComment(id) => format!("{}/pulls/comments/{id}", repo.path()),
        Message::Issue(_) | Message::Pull(_) | Message::Review(_) | Message::Discussion(_) => {
            return Err(PluginError::refused(
                "GitHub lets programs delete comments only: edit it, or ask a person to close it",
            ));
        }
    };
    let purpose = Purpose { what: "the deletion", permission: permission(message) };
    match api.call(Method::DELETE, &path, None, purpose).await {
        Err(PluginError::Refused { reason }) if reason.contains("(404") => {
            // Gone already, if the token sees the repository at all.
            api.call(Method::GET, &repo.path(), None, purpose).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}

/// Finds out whether a message has arrived, all of it; notes how much of it has.
pub async fn find(
    api: &Api,
    runtime: &Runtime,
    own: &OwnUser,
    message: OutboundMessage,
) -> Result<Option<Receipt>> {
    // What changes a message may be done twice.
    if matches!(message.content, Content::Edit { .. } | Content::Delete { .. } | Content::Reaction { .. }) {
        return Ok(None);
    }
    let outgoing = Outgoing::of(&message)?;
    let count = outgoing.parts.len();
    let since = moment(message.taken_at.unwrap_or(Timestamp(0)));
    let is_review = outgoing.verdict.is_some();
    let mut shown = Shown::of(api, &outgoing, outgoing.spot, is_review, own, &since).await?;
    // The first part may be of another kind than those that follow it.
    let follow = match (outgoing.spot, shown.part(&message.id, 0)) {
        _ if count == 1 => None,
        (Spot::Repository, Some(Message::Issue(number))) => Some(Spot::Issue(number)),
        (Spot::Pull(number), Some(_)) if is_review => Some(Spot::Pull(number)),
        _ => None,
    };
    if let Some(spot) = follow {
        shown.0.extend(Shown::of(api, &outgoing, spot, false, own, &since).await?.0);
    }
    let known = message.sent_so_far.as_ref().map_or(0, |sent| sent.parts as usize);
    let mut sending = Sending::of(runtime, &message.id, message.sent_so_far.clone(), count);
    // Parts go out in their order: what follows one that is not there was never sent.
    let arrived: Vec<Message> = (0..count).map_while(|part| shown.part(&message.id, part)).collect();
    if arrived.len() > known {
        let ids = arrived.iter().map(Message::id).collect();
        sending.found(u32::try_from(arrived.len()).unwrap_or(u32::MAX), ids).await;
    }
    Ok((sending.parts() >= count).then(|| sending.receipt()))
}

/// The account's own messages in one place, with their words.
struct Shown(Vec<(Message, String)>);

impl Shown {
    async fn of(
        api: &Api,
        outgoing: &Outgoing<'_>,
        spot: Spot,
        is_review: bool,
        own: &OwnUser,
        since: &str,
    ) -> Result<Shown> {
        let repo = outgoing.repo.path();
        let path = match (spot, is_review) {
            (Spot::Discussion(number), _) => {
                let own = graphql::own_comments(api, &outgoing.repo, number).await?;
                let named = own.into_iter().map(|(id, body)| (Message::DiscussionComment(id), body));
                return Ok(Shown(named.collect()));
            }
            (Spot::Pull(number), true) => format!("{repo}/pulls/{number}/reviews?"),
            (Spot::Review { pull, .. }, _) => format!("{repo}/pulls/{pull}/comments?since={since}"),
            (Spot::Issue(number) | Spot::Pull(number), _) => {
                format!("{repo}/issues/{number}/comments?since={since}")
            }
            (Spot::Repository, _) => format!("{repo}/issues?state=all&since={since}"),
        };
        let listed = api.list(&path, outgoing.purpose()).await?;
        let is_own = |one: &&Value| {
            let user = &one["user"];
            own.is(user["id"].as_u64().unwrap_or_default(), user["login"].as_str().unwrap_or_default())
        };
        let named = listed.iter().filter(is_own).filter_map(|one| {
            Some((message_of(spot, is_review, one)?, one["body"].as_str().unwrap_or_default().to_owned()))
        });
        Ok(Shown(named.collect()))
    }

    /// The message that is this part of the delivery.
    fn part(&self, id: &str, part: usize) -> Option<Message> {
        let mark = mark(id, part);
        self.0.iter().find(|(_, body)| body.contains(&mark)).map(|(message, _)| message.clone())
    }
}

/// A little before that moment, as GitHub's `since` takes it: its clock is not ours.
fn moment(at: Timestamp) -> String {
    let at =
        jiff::Timestamp::from_millisecond(at.0 - CLOCKS_DIFFER_MS).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;

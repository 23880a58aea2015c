//! What people write on GitHub, as each kind of payload holds it. Pure.

use crate::field::{Fault, Field};
use crate::mention;
use crate::place::Message;
use vestibule_plugin_api::ReplyTo;

/// So much of the code that a review comment is about is quoted, in bytes: its end, where the commented line is.
const HUNK_BYTES_MAX: usize = 4_096;

/// A comment, an issue, a pull request, a review or a discussion, before its author is looked at.
pub struct Written<'a> {
    /// The object, for what all kinds have in common.
    pub object: Field<'a>,
    pub repo: String,
    pub thread: String,
    pub message: Message,
    /// Words without markup, but for code.
    pub title: Option<&'a str>,
    /// The verdict of a review.
    pub verdict: Option<&'static str>,
    /// Markdown.
    pub body: &'a str,
    /// The code that it is about.
    pub code: Option<ReplyTo>,
    /// When it was written.
    pub written_at: Field<'a>,
}

impl Written<'_> {
    pub fn text(&self) -> String {
        let parts = [self.title, self.verdict, Some(self.body)];
        let parts: Vec<&str> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        parts.join("\n\n")
    }

    pub fn mentions(&self, name: &str) -> bool {
        self.title.is_some_and(|title| mention::in_title(title, name))
            || mention::in_markdown(self.body, name)
    }
}

/// What an event is about; `None` for an event of another kind.
pub fn read<'a>(event: &str, payload: &Field<'a>) -> Option<Result<Written<'a>, Fault>> {
    Some(match event {
        "issue_comment" => issue_comment(payload),
        "pull_request_review_comment" => review_comment(payload),
        "issues" => issue(payload),
        "pull_request" => pull(payload),
        "pull_request_review" => review(payload),
        "discussion" => discussion(payload),
        "discussion_comment" => discussion_comment(payload),
        _ => return None,
    })
}

/// Which member of the payload an event is about.
pub fn object_of(event: &str) -> &'static str {
    match event {
        "issues" => "issue",
        "pull_request" => "pull_request",
        "pull_request_review" => "review",
        "discussion" => "discussion",
        _ => "comment",
    }
}

fn of<'a>(object: Field<'a>, repo: String, thread: String, message: Message) -> Result<Written<'a>, Fault> {
    let body = object.get("body").text_or_none()?;
    let written_at = object.get("created_at");
    Ok(Written { object, repo, thread, message, title: None, verdict: None, body, code: None, written_at })
}

fn issue_comment<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, comment, issue) = (repository(payload)?, payload.get("comment"), payload.get("issue"));
    let message = Message::Comment(comment.get("id").id()?);
    comment.get("body").text()?;
    let number = issue.get("number").id()?;
    // GitHub tells of an issue, and of a pull request's conversation, in one field.
    let thread = match issue.get("pull_request").is_null() {
        true => format!("github:{repo}:issue:{number}"),
        false => format!("github:{repo}:{number}"),
    };
    of(comment, repo, thread, message)
}

fn review_comment<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, comment) = (repository(payload)?, payload.get("comment"));
    let id = comment.get("id").id()?;
    comment.get("body").text()?;
    let number = payload.get("pull_request").get("number").id()?;
    let root = match comment.get("in_reply_to_id") {
        field if field.is_null() => id,
        field => field.id()?,
    };
    let code = code(&comment);
    let thread = format!("github:{repo}:{number}:rc:{root}");
    Ok(Written { code, ..of(comment, repo, thread, Message::ReviewComment(id))? })
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

fn issue<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, issue) = (repository(payload)?, payload.get("issue"));
    let number = issue.get("number").id()?;
    let (title, thread) = (issue.get("title").text()?, format!("github:{repo}:issue:{number}"));
    Ok(Written { title: Some(title), ..of(issue, repo, thread, Message::Issue(number))? })
}

fn pull<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, pull) = (repository(payload)?, payload.get("pull_request"));
    let number = pull.get("number").id()?;
    let (title, thread) = (pull.get("title").text()?, format!("github:{repo}:{number}"));
    Ok(Written { title: Some(title), ..of(pull, repo, thread, Message::Pull(number))? })
}

/// A review as a whole. The comments in it are events of their own.
fn review<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, review) = (repository(payload)?, payload.get("review"));
    let number = payload.get("pull_request").get("number").id()?;
    let message = Message::Review(review.get("node_id").node()?.to_owned());
    let verdict = match review.get("state").word()? {
        "approved" => Some("[approved the pull request]"),
        "changes_requested" => Some("[requested changes to the pull request]"),
        _ => None,
    };
    let written_at = review.get("submitted_at");
    Ok(Written {
        verdict,
        written_at,
        ..of(review, repo.clone(), format!("github:{repo}:{number}"), message)?
    })
}

fn discussion<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, discussion) = (repository(payload)?, payload.get("discussion"));
    let message = Message::Discussion(discussion.get("node_id").node()?.to_owned());
    let title = discussion.get("title").text()?;
    let thread = format!("github:{repo}:discussion:{}", discussion.get("number").id()?);
    Ok(Written { title: Some(title), ..of(discussion, repo, thread, message)? })
}

fn discussion_comment<'a>(payload: &Field<'a>) -> Result<Written<'a>, Fault> {
    let (repo, comment) = (repository(payload)?, payload.get("comment"));
    let message = Message::DiscussionComment(comment.get("node_id").node()?.to_owned());
    let thread = format!("github:{repo}:discussion:{}", payload.get("discussion").get("number").id()?);
    comment.get("body").text()?;
    of(comment, repo, thread, message)
}

/// `owner/name`, checked.
pub fn repository(payload: &Field) -> Result<String, Fault> {
    let repository = payload.get("repository");
    let owner = repository.get("owner").get("login").name()?;
    let name = repository.get("name").name()?;
    let full = repository.get("full_name");
    match full.text()? == format!("{owner}/{name}") {
        true => Ok(format!("{owner}/{name}")),
        false => Err(full.fault("must be the owner's login, a slash, and the repository's name")),
    }
}

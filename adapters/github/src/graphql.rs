//! What GitHub has no REST call for: discussions, and reactions to reviews. All queries stand in `queries.graphql`.

use crate::answer::{Answer, Purpose, Speaker, UNNAMED_WAIT_MS, limited, not_permitted};
use crate::api::Api;
use crate::place::{Repo, is_node};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use vestibule_plugin_api::toolbox::http;
use vestibule_plugin_api::{Failure, PluginError, Result};

const QUERIES: &str = include_str!("queries.graphql");
/// How many pages of a discussion's comments are looked through.
const PAGES_MAX: usize = 20;

/// The words of limits that bear the type of a refusal: too many calls, and too many new comments.
const LIMITS: [&str; 2] = ["secondary rate limit", "was submitted too quickly"];

/// Where GraphQL is asked, for an API at this URL: `https://HOST/api/graphql` on GitHub Enterprise Server.
pub fn endpoint(base: &str) -> String {
    format!("{}/graphql", base.strip_suffix("/v3").unwrap_or(base))
}

/// Has GitHub perform one of the queries; returns its data.
async fn perform(api: &Api, operation: &str, variables: Value, purpose: Purpose) -> Result<Value> {
    let url = Url::parse(&endpoint(&api.http.base))?;
    let body = json!({ "query": QUERIES, "operationName": operation, "variables": variables });
    let answer = api.ask(Method::POST, &url, Some(&body)).await?;
    if !answer.is_success() {
        return Err(answer.refusal(purpose, api.speaker()));
    }
    let json: Value = answer.read()?;
    match json["errors"].as_array().and_then(|errors| errors.first()) {
        Some(error) => Err(refusal(&answer, error, purpose, api.speaker())),
        None if json["data"].is_object() => Ok(json["data"].clone()),
        None => Err(answer.unreadable()),
    }
}

/// The error for what GraphQL refuses: it answers 200 to it.
fn refusal(answer: &Answer, error: &Value, purpose: Purpose, speaker: Speaker) -> PluginError {
    let kind = error["type"].as_str().unwrap_or_default();
    let words = http::words(error["message"].as_str().unwrap_or_default());
    match kind {
        "RATE_LIMITED" => {
            let reset = answer.header("x-ratelimit-reset").and_then(|at| at.trim().parse::<i64>().ok());
            let wait = reset.map(|at| at.saturating_mul(1_000) - vestibule_plugin_api::Timestamp::now().0);
            limited(wait.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(UNNAMED_WAIT_MS), &words)
        }
        _ if LIMITS.iter().any(|limit| words.contains(limit)) => limited(UNNAMED_WAIT_MS, &words),
        "INTERNAL" | "SERVICE_UNAVAILABLE" => in_doubt(&words),
        // That is a timeout, and has no type; what it asked for may go on.
        _ if words.starts_with("Something went wrong while executing your query") => in_doubt(&words),
        "FORBIDDEN" | "INSUFFICIENT_SCOPES" => not_permitted(purpose, &words, speaker),
        _ => PluginError::refused(format!("GitHub refused {} ({kind}: {words})", purpose.what)),
    }
}

fn in_doubt(words: &str) -> PluginError {
    Failure::of_http(502, true).of_account().error(format!("GitHub has a problem ({words})"))
}

fn of_discussion(what: &'static str) -> Purpose {
    Purpose { what, permission: "Discussions" }
}

/// The node id at this place of an answer.
fn node(data: &Value, pointer: &str) -> Result<String> {
    let found = data.pointer(pointer).and_then(Value::as_str).filter(|id| is_node(id));
    found.map(str::to_owned).ok_or_else(|| PluginError::in_doubt("GitHub's answer names no comment"))
}

fn variables(repo: &Repo<'_>, number: u64) -> Value {
    json!({ "owner": repo.owner, "name": repo.name, "number": number })
}

/// The id of a discussion.
pub async fn discussion(api: &Api, repo: &Repo<'_>, number: u64) -> Result<String> {
    let data = perform(api, "Discussion", variables(repo, number), of_discussion("the comment")).await?;
    let found = data.pointer("/repository/discussion/id").and_then(Value::as_str).filter(|id| is_node(id));
    found.map(str::to_owned).ok_or_else(|| PluginError::refused("the discussion is not there any more"))
}

/// The comment under which a reply to this one stands, as GitHub has one level of replies; none if it is gone.
pub async fn parent(api: &Api, comment: &str) -> Result<Option<String>> {
    let data = match perform(api, "Parent", json!({ "id": comment }), of_discussion("the reply")).await {
        Err(error) if is_gone(&error) => return Ok(None),
        outcome => outcome?,
    };
    let parent = data.pointer("/node/replyTo/id").and_then(Value::as_str).filter(|id| is_node(id));
    let there = data["node"].is_object().then(|| parent.unwrap_or(comment));
    Ok(there.map(str::to_owned))
}

/// Whether GitHub refused because what was named is not there any more.
fn is_gone(error: &PluginError) -> bool {
    matches!(error, PluginError::Refused { reason } if reason.contains("(NOT_FOUND: "))
}

/// Posts a comment, beneath another one if it is a reply; returns its id.
pub async fn comment(api: &Api, discussion: &str, parent: Option<&str>, body: &str) -> Result<String> {
    let variables = json!({ "discussion": discussion, "parent": parent, "body": body });
    let data = perform(api, "AddComment", variables, of_discussion("the comment")).await?;
    node(&data, "/addDiscussionComment/comment/id")
}

pub async fn update_comment(api: &Api, comment: &str, body: &str) -> Result<()> {
    let variables = json!({ "id": comment, "body": body });
    perform(api, "UpdateComment", variables, of_discussion("the edit")).await.map(drop)
}

pub async fn delete_comment(api: &Api, comment: &str) -> Result<()> {
    let purpose = of_discussion("the deletion");
    match perform(api, "DeleteComment", json!({ "id": comment }), purpose).await {
        Err(error) if is_gone(&error) => Ok(()),
        outcome => outcome.map(drop),
    }
}

pub async fn update_review(api: &Api, review: &str, body: &str) -> Result<()> {
    let purpose = Purpose { what: "the edit", permission: "Pull requests" };
    perform(api, "UpdateReview", json!({ "id": review, "body": body }), purpose).await.map(drop)
}

/// Reacts; `content` is REST's word for it.
pub async fn react(api: &Api, subject: &str, content: &str, permission: &'static str) -> Result<()> {
    let word = match content {
        "+1" => "THUMBS_UP".to_owned(),
        "-1" => "THUMBS_DOWN".to_owned(),
        word => word.to_uppercase(),
    };
    let purpose = Purpose { what: "the reaction", permission };
    perform(api, "React", json!({ "id": subject, "content": word }), purpose).await.map(drop)
}

/// The account's own comments in a discussion: the id and the words of each.
pub async fn own_comments(api: &Api, repo: &Repo<'_>, number: u64) -> Result<Vec<(String, String)>> {
    let (mut own, mut variables) = (Vec::new(), variables(repo, number));
    for _ in 0..PAGES_MAX {
        let data = perform(api, "Comments", variables.clone(), of_discussion("the question")).await?;
        let page = &data["repository"]["discussion"]["comments"];
        let each = |nodes: &Value| nodes.as_array().cloned().unwrap_or_default();
        for comment in each(&page["nodes"]) {
            let replies = each(&comment["replies"]["nodes"]);
            own.extend(std::iter::once(comment).chain(replies).filter_map(|one| of_ours(&one)));
        }
        if page["pageInfo"]["hasPreviousPage"] != true {
            return Ok(own);
        }
        variables["before"] = page["pageInfo"]["startCursor"].clone();
    }
    Err(PluginError::retry("there are too many comments to look through"))
}

fn of_ours(comment: &Value) -> Option<(String, String)> {
    let id = comment["id"].as_str().filter(|id| is_node(id) && comment["viewerDidAuthor"] == true)?;
    Some((id.to_owned(), comment["body"].as_str().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests;

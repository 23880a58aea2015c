//! The names of chats, threads and messages: what they mean on GitHub, and how they are written. Pure.
//!
//! A name comes back from where it was stored, and a URL is made of it: each is checked against GitHub's own alphabet.

use vestibule_plugin_api::{Address, PlatformId};

/// The longest login or repository name that is believed. GitHub's own limits are 39 and 100.
const NAME_BYTES_MAX: usize = 100;
/// The longest node id that is believed.
const NODE_BYTES_MAX: usize = 200;

/// A repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repo<'a> {
    pub owner: &'a str,
    pub name: &'a str,
}

impl<'a> Repo<'a> {
    /// The repository that a chat is.
    pub fn of(chat: &'a str) -> Option<Repo<'a>> {
        let (owner, name) = chat.strip_prefix("github:")?.split_once('/')?;
        (is_name(owner) && is_name(name)).then_some(Repo { owner, name })
    }

    /// Its path under the API's URL.
    pub fn path(&self) -> String {
        format!("/repos/{}/{}", self.owner, self.name)
    }
}

/// Where a message goes: a repository, or a conversation in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    Repository,
    Issue(u64),
    Pull(u64),
    /// A thread of a review: the pull request's number, and the comment that began the thread.
    Review {
        pull: u64,
        root: u64,
    },
    Discussion(u64),
}

impl Spot {
    /// The permission that a token needs there, as GitHub's settings call it.
    pub fn permission(self) -> &'static str {
        match self {
            Spot::Repository | Spot::Issue(_) => "Issues",
            Spot::Pull(_) | Spot::Review { .. } => "Pull requests",
            Spot::Discussion(_) => "Discussions",
        }
    }
}

/// Where a message to this address goes.
///
/// # Errors
/// A sentence that says why nothing can be posted there.
pub fn place(address: &Address) -> Result<(Repo<'_>, Spot), String> {
    let chat = address.platform_id.as_str();
    let repo = Repo::of(chat).ok_or_else(|| format!("`{chat}` is no repository on GitHub"))?;
    let Some(thread) = &address.thread_id else { return Ok((repo, Spot::Repository)) };
    let spot = thread.as_str().strip_prefix(chat).and_then(|rest| rest.strip_prefix(':')).and_then(spot);
    spot.map(|spot| (repo, spot))
        .ok_or_else(|| format!("`{}` is no issue, pull request or discussion of `{chat}`", thread.as_str()))
}

fn spot(text: &str) -> Option<Spot> {
    let parts: Vec<&str> = text.split(':').collect();
    Some(match parts[..] {
        ["issue", issue] => Spot::Issue(number(issue)?),
        ["discussion", discussion] => Spot::Discussion(number(discussion)?),
        [pull] => Spot::Pull(number(pull)?),
        [pull, "rc", root] => Spot::Review { pull: number(pull)?, root: number(root)? },
        _ => return None,
    })
}

/// A message on GitHub, by its kind: each kind has ids of its own, and calls of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// By its number.
    Issue(u64),
    /// By its number.
    Pull(u64),
    /// A comment of an issue, or of a pull request's conversation.
    Comment(u64),
    ReviewComment(u64),
    /// By its node id, as everything that only GraphQL can change.
    Review(String),
    Discussion(String),
    DiscussionComment(String),
}

impl Message {
    /// The message that an id names. A bare number is how NanoClaw names a comment: which one the thread says.
    ///
    /// # Errors
    /// A sentence that says that it is none.
    pub fn of(id: &str, spot: Spot) -> Result<Message, String> {
        let node = |text: &str| is_node(text).then(|| text.to_owned());
        let found = match id.split_once('-') {
            None => number(id).map(|id| match spot {
                Spot::Review { .. } => Message::ReviewComment(id),
                _ => Message::Comment(id),
            }),
            Some(("issue", id)) => number(id).map(Message::Issue),
            Some(("pull", id)) => number(id).map(Message::Pull),
            Some(("comment", id)) => number(id).map(Message::Comment),
            Some(("review_comment", id)) => number(id).map(Message::ReviewComment),
            Some(("review", id)) => node(id).map(Message::Review),
            Some(("discussion", id)) => node(id).map(Message::Discussion),
            Some(("discussion_comment", id)) => node(id).map(Message::DiscussionComment),
            Some(_) => None,
        };
        found.ok_or_else(|| format!("`{id}` is no message on GitHub"))
    }

    /// Its id, as [`Message::of`] reads it.
    pub fn id(&self) -> String {
        match self {
            Message::Issue(number) => format!("issue-{number}"),
            Message::Pull(number) => format!("pull-{number}"),
            Message::Comment(id) => format!("comment-{id}"),
            Message::ReviewComment(id) => format!("review_comment-{id}"),
            Message::Review(node) => format!("review-{node}"),
            Message::Discussion(node) => format!("discussion-{node}"),
            Message::DiscussionComment(node) => format!("discussion_comment-{node}"),
        }
    }
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

pub fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) && text != "." && text != ".."
}

/// Why a text is no login, if it is none. An app's login ends in `[bot]`.
pub fn login_fault(text: &str) -> Option<&'static str> {
    let fits = is_name(text.strip_suffix("[bot]").unwrap_or(text));
    (!fits).then_some("is not a login that GitHub gives")
}

/// Whether this is written like a node id: the newer ones begin with their kind, the older ones are Base64.
pub fn is_node(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'=' | b'+' | b'/');
    (1..=NODE_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits)
}

pub fn number(text: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vestibule_plugin_api::ThreadId;

    fn address(chat: &str, thread: Option<&str>) -> Address {
        Address {
            channel_type: "github".into(),
            account: "main".into(),
            platform_id: chat.into(),
            thread_id: thread.map(ThreadId::from),
        }
    }

    #[test]
    fn where_replies_go() {
        let chat = "github:octo-org/hello.world";
        for (thread, want) in [
            (None, Spot::Repository),
            (Some("github:octo-org/hello.world:issue:7"), Spot::Issue(7)),
            (Some("github:octo-org/hello.world:8"), Spot::Pull(8)),
            (Some("github:octo-org/hello.world:8:rc:9"), Spot::Review { pull: 8, root: 9 }),
            (Some("github:octo-org/hello.world:discussion:10"), Spot::Discussion(10)),
        ] {
            let address = address(chat, thread);
            let (repo, spot) = place(&address).expect("a place");
            assert_eq!((repo.path().as_str(), spot), ("/repos/octo-org/hello.world", want));
        }
    }

    #[test]
    fn addresses_that_are_not_ours_reach_no_url() {
        let table = [
            ("github:a/b", "github:a/c:1"),
            ("github:a/b", "github:a/b"),
            ("github:a/b", "github:a/b:"),
            ("github:a/b", "github:a/b:0"),
            ("github:a/b", "github:a/b:+1"),
            ("github:a/b", "github:a/b:-1"),
            ("github:a/b", "github:a/b:1/../2"),
            ("github:a/b", "github:a/b:99999999999999999999999"),
            ("github:a/b", "github:a/b:issue:"),
            ("github:a/b", "github:a/b:discussion:x"),
            ("github:a/b", "github:a/b:issue:1:rc:2"),
            ("github:a/b", "github:a/b:1:rc:x"),
            ("github:a/b", "github:a/b:1:rc:2:3"),
            ("github:../b", "github:../b:1"),
            ("github:a/..", "github:a/..:1"),
            ("github:a/b/c", "github:a/b/c:1"),
            ("github:a/b?x=", "github:a/b?x=:1"),
            ("github:a", "github:a:1"),
            ("slack:a/b", "slack:a/b:1"),
        ];
        for (chat, thread) in table {
            assert!(place(&address(chat, Some(thread))).is_err(), "{chat} {thread}");
        }
    }

    #[test]
    fn an_id_names_its_kind() {
        let node = "DC_kwDOA-_b".to_owned();
        for message in [
            Message::Issue(7),
            Message::Pull(7),
            Message::Comment(7),
            Message::ReviewComment(7),
            Message::Review("MDE3OlB1bGw=".into()),
            Message::Discussion(node.clone()),
            Message::DiscussionComment(node),
        ] {
            assert_eq!(Message::of(&message.id(), Spot::Repository), Ok(message));
        }
        assert_eq!(Message::of("7", Spot::Pull(1)), Ok(Message::Comment(7)));
        assert_eq!(Message::of("7", Spot::Review { pull: 1, root: 2 }), Ok(Message::ReviewComment(7)));
        for id in
            ["", "x", "comment-", "comment-x", "comment-1/..", "commit-1", "review-", "review-a b", "-1"]
        {
            assert!(Message::of(id, Spot::Repository).is_err(), "{id}");
        }
    }

    #[test]
    fn which_repository_a_person_means() {
        for (text, want) in [
            ("acme/widgets", Some("github:acme/widgets")),
            ("github:Acme/Widgets", Some("github:Acme/Widgets")),
            (" https://github.com/acme/widgets ", Some("github:acme/widgets")),
            ("https://github.example/acme/widgets/issues/7#issuecomment-1", Some("github:acme/widgets")),
            ("https://github.com/acme/widgets.git", Some("github:acme/widgets")),
            ("https://github.com/acme", None),
            ("acme", None),
            ("acme/widgets/issues/7", None),
            ("acme/..", None),
            ("github:", None),
        ] {
            assert_eq!(typed(text).as_ref().map(|chat| chat.as_str()), want, "{text}");
        }
    }
}

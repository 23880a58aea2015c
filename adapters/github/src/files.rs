//! Files: people's, which stand in their texts as links, and agents', which GitHub's API takes nowhere: what is text goes
//! out in a comment.

use crate::api::Api;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, Url};
use std::time::Duration;
use vestibule_plugin_api::toolbox::http::{self, Answer, End};
use vestibule_plugin_api::{ATTACHMENTS_MAX, Attachment, Failure, PluginError, REFERENCE_BYTES_MAX, Result};

/// A file of which nothing comes for so long is given up.
const STALLED_AFTER: Duration = Duration::from_secs(20);
/// How often a file's address leads to another one.
const MOVES_MAX: usize = 3;
/// Where GitHub keeps the files of comments, beside its own pages. The token goes to none of these.
const STORES: [&str; 2] = ["githubusercontent.com", "amazonaws.com"];
/// Whose files of comments these hosts have.
const USER_HOSTS: [&str; 2] =
    ["user-images.githubusercontent.com", "private-user-images.githubusercontent.com"];

/// Where GitHub's pages are, for an API at this URL. Pure.
pub fn web(base: &str) -> String {
    match base {
        "https://api.github.com" => "https://github.com".into(),
        _ => base.strip_suffix("/api/v3").unwrap_or(base).to_owned(),
    }
}

/// The files that people have put into a text: links to where GitHub keeps those of comments. Pure.
pub fn linked(text: &str, web: &str) -> Vec<Attachment> {
    let mut found: Vec<Attachment> = Vec::new();
    for (at, _) in text.match_indices("http") {
        if found.len() == ATTACHMENTS_MAX {
            break;
        }
        let rest = &text[at..];
        if !begins_as_file(rest, web) {
            continue;
        }
        let ends = |c: char| c.is_whitespace() || c.is_control() || "()[]<>\"'`|".contains(c);
        // One that is longer is none: so much is looked at, wherever a text ends.
        let head = &rest[..rest.ceil_char_boundary(REFERENCE_BYTES_MAX + 1)];
        let link = &head[..head.find(ends).unwrap_or(head.len())];
        let is_known = found.iter().any(|file| file.reference.as_deref() == Some(link));
        if is_known || link.len() > REFERENCE_BYTES_MAX || !is_file(link, web) {
            continue;
        }
        let before = &text[..at];
        let (alt, is_picture) = shown_as(before);
        let last = link.split(['?', '#']).next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        let name = if last.contains('.') || alt.is_empty() { last } else { alt };
        found.push(Attachment {
            name: name.to_owned(),
            kind: Some(if is_picture { "image" } else { "file" }.to_owned()),
            reference: Some(link.to_owned()),
            ..Attachment::default()
        });
    }
    found
}

/// The words before a link that show what it is: `![words](` or `<img … src="`.
fn shown_as(before: &str) -> (&str, bool) {
    if let Some(open) = before.strip_suffix("](") {
        let words = open.rsplit_once('[');
        return words.map_or(("", false), |(rest, words)| (words, rest.ends_with('!')));
    }
    let tag = before.strip_suffix("src=\"").and_then(|before| before.rsplit_once('<'));
    ("", tag.is_some_and(|(_, tag)| tag.starts_with("img ")))
}

/// Whether a link may lead to a file, by how it begins.
fn begins_as_file(link: &str, web: &str) -> bool {
    let bare = link.strip_prefix("https://").unwrap_or_default();
    link.starts_with(web) || USER_HOSTS.iter().any(|host| bare.starts_with(host))
}

/// Whether a link leads to where GitHub keeps the files of comments, once it is read as the request for it will be:
/// without `..`, and with `\` for `/`. Pure.
fn is_file(link: &str, web: &str) -> bool {
    let (Ok(url), Ok(pages)) = (Url::parse(link), Url::parse(web)) else { return false };
    if !url.username().is_empty() || url.password().is_some() {
        return false;
    }
    if url.origin() != pages.origin() {
        let host = url.host_str().unwrap_or_default();
        return url.scheme() == "https" && url.port().is_none() && USER_HOSTS.contains(&host);
    }
    let path = url.path().strip_prefix(pages.path().trim_end_matches('/'));
    let Some(path) = path.and_then(|path| path.strip_prefix('/')) else { return false };
    // What is a slash only to a further reader would be another path to it.
    let lower = path.to_ascii_lowercase();
    let parts: Vec<&str> = path.split('/').collect();
    if lower.contains("%2f") || lower.contains("%5c") || parts.contains(&"") {
        return false;
    }
    matches!(
        parts[..],
        ["user-attachments", "assets", _]
            | [_, "files", _, _]
            // As they were until 2023.
            | [_, _, "assets" | "files", _, _]
    )
}

/// Fetches a file of a comment.
pub async fn fetch(api: &Api, web: &str, link: &str, bytes_max: u64) -> Result<Vec<u8>> {
    if !is_file(link, web) {
        return Err(PluginError::refused("that is no file of a comment on GitHub"));
    }
    let pages = Url::parse(web)?;
    let mut url = Url::parse(link)?;
    for _ in 0..=MOVES_MAX {
        let response = http::send(request(api, &pages, &url).await?, "GitHub").await?;
        let moved = response.status().is_redirection().then(|| response.headers().get("location")).flatten();
        let Some(to) = moved.and_then(|to| to.to_str().ok()).and_then(|to| url.join(to).ok()) else {
            return take(response, bytes_max, link).await;
        };
        if to.origin() != pages.origin() && !is_store(&to) {
            return Err(PluginError::refused("its address leads away from GitHub"));
        }
        url = to;
    }
    Err(PluginError::refused("its address only leads to further ones"))
}

/// The request for a file at this address. Only GitHub's own pages see the token, however one got there.
async fn request(api: &Api, pages: &Url, url: &Url) -> Result<RequestBuilder> {
    let request = api.http.client.get(url.clone());
    match url.origin() == pages.origin() {
        true => Ok(request.header(AUTHORIZATION, api.auth().await?)),
        false => Ok(request),
    }
}

/// Whether GitHub keeps files at this address. Pure.
fn is_store(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let is_in = |store: &&str| host.strip_suffix(*store).is_some_and(|rest| rest.ends_with('.'));
    url.scheme() == "https" && STORES.iter().any(is_in)
}

async fn take(response: Response, bytes_max: u64, link: &str) -> Result<Vec<u8>> {
    let is_page = |kind: &str| kind.starts_with("text/html");
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_login = is_page(kind) && !link.ends_with(".html") && !link.ends_with(".htm");
    if response.content_length().is_some_and(|bytes| bytes > bytes_max) {
        return Err(PluginError::refused("it is larger than the limit"));
    }
    let answer =
        Answer::read(response, usize::try_from(bytes_max).unwrap_or(usize::MAX), STALLED_AFTER).await;
    match (answer.status, answer.end) {
        (200, _) if is_login => Err(PluginError::refused("GitHub shows it to people who are signed in only")),
        (200, End::Whole) if answer.body.len() as u64 <= bytes_max => Ok(answer.body),
        (200, End::Cut) if answer.body.len() as u64 > bytes_max => {
            Err(PluginError::refused("it is larger than the limit"))
        }
        (200, _) => Err(Failure::network(false).error("the file did not come whole")),
        (401 | 403 | 404 | 410, _) => {
            Err(PluginError::refused(format!("GitHub does not give it to the token ({})", answer.status)))
        }
        (status, _) => Err(Failure::of_http(status, true).error(format!("GitHub answered {status}"))),
    }
}

/// A file as Markdown: what is text, as code; what is not is named. Pure.
pub fn as_text(file: &Attachment) -> String {
    let name = http::words(&file.name).replace('`', "'");
    let name = if name.is_empty() { "file" } else { &name };
    let bytes = file.bytes.as_deref().unwrap_or_default();
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0')) else {
        return format!("[file: {name} — not sent: GitHub takes only text from programs]");
    };
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let end = name
        .rsplit_once('.')
        .map(|(_, end)| end)
        .filter(|end| end.bytes().all(|b| b.is_ascii_alphanumeric()));
    let gap = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    format!("`{name}`\n\n{fence}{}\n{text}{gap}{fence}", end.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Auth, Http, bearer};
    use crate::stand_in::StandIn;
    use reqwest::header::HeaderValue;

    /// The access of an account with a token.
    fn api(base: &str) -> Api {
        let token = bearer("ghp_1", "token").expect("a token");
        Api::new(Http::new(base).expect("a URL"), Auth::Token(token))
    }

    #[tokio::test]
    async fn only_githubs_own_pages_see_the_token() {
        let (api, pages) = (api("https://api.github.com"), Url::parse(WEB).expect("a URL"));
        for (url, want) in [
            ("https://github.com/user-attachments/assets/0a-1", true),
            ("https://private-user-images.githubusercontent.com/1/2.png?jwt=x", false),
            ("https://objects.githubusercontent.com/x", false),
            ("https://github-production-user-asset-6210df.s3.amazonaws.com/1", false),
            ("https://github.com.example.org/user-attachments/assets/0a-1", false),
            ("https://github.com:8443/user-attachments/assets/0a-1", false),
            ("http://github.com/user-attachments/assets/0a-1", false),
        ] {
            let url = Url::parse(url).expect("a URL");
            let request = request(&api, &pages, &url).await.expect("it is made");
            let request = request.build().expect("it is whole");
            let shown = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
            assert_eq!(shown, want.then_some(&b"Bearer ghp_1"[..]), "{url}");
        }
    }

    /// A private file is handed out for the token alone. Where its address leads to another host, nothing is asked there.
    #[tokio::test]
    async fn a_file_is_asked_for_with_the_token_and_nowhere_else() {
        let elsewhere = StandIn::start(|_| (200, String::new(), "a stranger's".to_owned()));
        let away = format!("location: {}/user-attachments/assets/0a-1\r\n", elsewhere.url);
        let pages = StandIn::start(move |asked| match &*asked.path {
            "/user-attachments/assets/away" => (302, away.clone(), String::new()),
            "/user-attachments/assets/moved" => {
                (302, "location: /user-attachments/assets/0a-1\r\n".to_owned(), String::new())
            }
            _ if asked.authorization == "Bearer ghp_1" => (200, String::new(), "the notes".to_owned()),
            _ => (404, String::new(), "Not Found".to_owned()),
        });
        let api = api(&pages.url);
        let load = async |name: &str| {
            let link = format!("{}/user-attachments/assets/{name}", pages.url);
            fetch(&api, &web(&pages.url), &link, 100).await
        };
        assert_eq!(load("0a-1").await.as_deref(), Ok(&b"the notes"[..]));
        assert_eq!(load("moved").await.as_deref(), Ok(&b"the notes"[..]));
        let error = load("away").await.expect_err("it is not GitHub's");
        assert!(error.reason().contains("leads away"), "{error:?}");
        assert_eq!(elsewhere.asked(), []);
    }

    const WEB: &str = "https://github.com";

    #[test]
    fn where_the_pages_are() {
        for (base, want) in [
            ("https://api.github.com", WEB),
            ("https://ghe.example/api/v3", "https://ghe.example"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ] {
            assert_eq!(web(base), want);
        }
    }

    #[test]
    fn which_links_are_files() {
        for (text, want) in [
            ("![shot](https://github.com/user-attachments/assets/0a-1)", Some(("shot", "image"))),
            ("[log.txt](https://github.com/user-attachments/files/17/log.txt)", Some(("log.txt", "file"))),
            (
                "<img width=\"9\" alt=\"x\" src=\"https://github.com/user-attachments/assets/0a-1\" />",
                Some(("0a-1", "image")),
            ),
            ("https://github.com/user-attachments/assets/0a-1", Some(("0a-1", "file"))),
            ("[a.zip](https://github.com/o/r/files/17/a.zip).", Some(("a.zip", "file"))),
            ("![x](https://user-images.githubusercontent.com/1/2.png)", Some(("2.png", "image"))),
            ("https://github.com/o/r/blob/main/a.zip", None),
            ("https://github.com/user-attachments/assets/", None),
            ("https://github.com.example.org/user-attachments/assets/0a-1", None),
            ("https://github.company/user-attachments/assets/0a-1", None),
            ("http://github.com/user-attachments/assets/0a-1", None),
            ("https://example.org/a.png", None),
            ("https://github.com/o/r/files/17/..\\..\\..\\..\\settings", None),
            ("https://github.com/user-attachments/assets/..", None),
            ("https://github.com/o/r/files/../../user", None),
            ("https://github.com/o/r/files/%2e%2e/%2E%2e", None),
            ("https://github.com/o/r/files/17/..%2f..%2f..%5Csettings", None),
            ("https://github.com\\o\\r\\blob\\main", None),
            ("https://github.com@example.org/user-attachments/assets/0a-1", None),
            ("https://me@github.com/user-attachments/assets/0a-1", None),
            ("https://user-images.githubusercontent.com.example.org/1/2.png", None),
            ("https://user-images.githubusercontent.com@example.org/1/2.png", None),
            ("", None),
        ] {
            let found = linked(text, WEB);
            let told =
                found.first().map(|file| (file.name.as_str(), file.kind.as_deref().unwrap_or_default()));
            assert_eq!(told, want, "{text}");
        }
        let many: String =
            (0..40).map(|n| format!("https://github.com/user-attachments/assets/{n} ")).collect();
        assert_eq!(linked(&format!("{many}{many}"), WEB).len(), ATTACHMENTS_MAX);
        for length in [3_000, REFERENCE_BYTES_MAX] {
            assert_eq!(linked(&format!("{WEB}/user-attachments/assets/{}", "ü".repeat(length)), WEB), []);
        }
        let path = format!("{WEB}/user-attachments/assets/");
        let longest = format!("{path}{}", "x".repeat(REFERENCE_BYTES_MAX - path.len()));
        assert_eq!(linked(&longest, WEB)[0].reference.as_deref(), Some(longest.as_str()));
        assert_eq!(linked(&format!("{longest}x"), WEB), []);
        let cut = format!("{}ü", &longest[..longest.len() - 1]);
        assert_eq!(linked(&cut, WEB), [], "it is not taken for a shorter one");
    }

    /// A text of GitHub's may be 65,536 characters of anything.
    #[test]
    fn a_text_of_beginnings_takes_no_time() {
        for text in ["http".repeat(16_384), format!("{WEB}/").repeat(3_449)] {
            let begun = std::time::Instant::now();
            assert_eq!(linked(&text, WEB), []);
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
    }

    #[test]
    fn where_a_files_address_may_lead() {
        for (url, want) in [
            ("https://github-production-user-asset-6210df.s3.amazonaws.com/1?X-Amz-Signature=2", true),
            ("https://objects.githubusercontent.com/x", true),
            ("http://objects.githubusercontent.com/x", false),
            ("https://amazonaws.com/x", false),
            ("https://evilamazonaws.com/x", false),
            ("https://169.254.169.254/", false),
        ] {
            assert_eq!(is_store(&Url::parse(url).expect("a URL")), want, "{url}");
        }
    }

    #[test]
    fn a_file_of_text_is_code() {
        let file = |name: &str, bytes: &[u8]| {
            as_text(&Attachment {
                name: name.into(),
                bytes: Some(bytes.to_vec().into()),
                ..Attachment::default()
            })
        };
        assert_eq!(file("a.rs", b"let x;"), "`a.rs`\n\n```rs\nlet x;\n```");
        assert_eq!(file("", b"x\n"), "`file`\n\n```\nx\n```");
        assert_eq!(file("a`.md", b"```\nx\n```\n"), "`a'.md`\n\n````md\n```\nx\n```\n````");
        assert_eq!(
            file("a.png", b"\x89PNG"),
            "[file: a.png — not sent: GitHub takes only text from programs]"
        );
        assert_eq!(file("a.bin", b"a\0"), "[file: a.bin — not sent: GitHub takes only text from programs]");
    }
}

//! Calls over HTTP, as every channel makes them: bounded in time and size, to the named host only, and with the class
//! of each failure.

use crate::{Attachment, Failure, PluginError, Result};
use bytes::Bytes;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::multipart::Part;
use reqwest::{Body, Client, RequestBuilder, Response, Url, redirect};
use std::time::Duration;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait that is believed: platforms ask for minutes at most.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// A client for one account. It follows no redirect: a token goes nowhere else.
///
/// # Errors
/// [`PluginError::Broken`]: this machine's certificates cannot be read.
pub fn client() -> Result<Client> {
    provide_tls();
    let builder = Client::builder().user_agent("vestibule").connect_timeout(CONNECT_TIMEOUT);
    builder.redirect(redirect::Policy::none()).build().map_err(|error| {
        let reason = PluginError::from(error);
        PluginError::broken(format!("cannot prepare for HTTPS: {}", reason.reason()))
    })
}

/// Names the one provider of TLS for this process. Another plugin in it may have done so before.
pub(super) fn provide_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The URL that the config names under `key`, without a slash at its end.
///
/// # Errors
/// [`PluginError::Broken`]: it is none that can be asked.
pub fn base(url: &str, key: &str) -> Result<String> {
    let url = url.trim_end_matches('/');
    let usable = Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    match usable {
        true => Ok(url.to_owned()),
        false => {
            Err(PluginError::broken(format!("`{key}` is not a URL that begins with https:// or http://")))
        }
    }
}

/// Sends a request, without its answer's body. `platform` is its name in the error.
///
/// # Errors
/// A failure of the network: the URL is never part of its words, for it may hold a token.
pub async fn send(request: RequestBuilder, platform: &str) -> Result<Response> {
    request.send().await.map_err(|error| {
        let not_asked = error.is_connect() || error.is_builder();
        let reason = PluginError::from(error.without_url());
        let words = format!("{platform} cannot be reached: {}", reason.reason());
        Failure::network(!not_asked).error(words)
    })
}

/// A file as the body of a request. Its bytes are not copied: they are those that came over the seam.
pub fn body(file: &Attachment) -> Body {
    file.bytes.clone().map_or_else(Body::default, |bytes| Body::from(Bytes::from_owner(bytes)))
}

/// A file as a part of a form, likewise.
pub fn part(file: &Attachment) -> Part {
    let length = file.bytes.as_deref().map_or(0, <[u8]>::len);
    Part::stream_with_length(body(file), length as u64)
}

/// How the reading of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// That is all of it.
    Whole,
    /// It broke off, is too long, or there is no memory for it.
    Cut,
    /// Nothing more came.
    Stalled,
}

/// An answer with its body, as much of it as came.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, up to one chunk more than was asked for.
    pub body: Vec<u8>,
    /// Whether it is all of it.
    pub end: End,
}

impl Answer {
    /// Reads the body piece by piece into one buffer, `most` bytes of it. It stalls when nothing comes for `patience`.
    pub async fn read(mut response: Response, most: usize, patience: Duration) -> Answer {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        // A buffer that doubles as it fills counts twice against the memory of the plugin's process.
        let promised = response.content_length().and_then(|bytes| usize::try_from(bytes).ok());
        let mut has_room = body.try_reserve_exact(promised.unwrap_or(0).min(most)).is_ok();
        let end = loop {
            if !has_room {
                break End::Cut;
            }
            match timeout(patience, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    has_room = body.try_reserve(chunk.len()).is_ok();
                    if has_room {
                        body.extend_from_slice(&chunk);
                    }
                }
                Ok(Ok(None)) => break End::Whole,
                Ok(Err(_)) => break End::Cut,
                Err(_) => break End::Stalled,
            }
            if body.len() > most {
                break End::Cut;
            }
        };
        Answer { status, headers, body, end }
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The wait that the platform asks for, in seconds by its header `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).clamp(Duration::from_secs(1), WAIT_MAX))
    }
}

/// A platform's own words as an error may repeat them: on one line, and not too many.
pub fn words(text: &str) -> String {
    const WORDS_CHARS_MAX: usize = 300;
    text.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Blob;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn what_cannot_be_asked_is_no_base() {
        for (url, want) in [
            ("https://slack.com/api/", Some("https://slack.com/api")),
            ("http://127.0.0.1:1", Some("http://127.0.0.1:1")),
            ("ftp://x", None),
            ("slack.com", None),
            ("", None),
        ] {
            assert_eq!(base(url, "api_url").ok().as_deref(), want, "{url}");
        }
    }

    /// A server that sends these answers, one a connection, and then waits.
    fn server(answers: Vec<&'static str>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let _ = stream.read(&mut [0; 4096]);
                stream.write_all(answer.as_bytes()).expect("it listens");
                if !answer.contains("stalls") {
                    continue;
                }
                open.push(stream);
            }
            std::thread::sleep(Duration::from_secs(20));
        });
        url
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_or_its_limit() {
        let url = server(vec![
            "HTTP/1.1 200 x\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\ncut",
            "HTTP/1.1 429 x\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 429 x\r\nretry-after: 999999\r\ncontent-length: 3\r\n\r\nabc",
            "HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 stalls\r\ncontent-length: 9\r\n\r\ncut",
        ]);
        let client = client().expect("it is made");
        for (status, body, end, wait) in [
            (200, "ok", End::Whole, None),
            (200, "cut", End::Cut, None),
            (429, "", End::Whole, Some(7)),
            (429, "abc", End::Whole, Some(3_600)),
            (302, "", End::Whole, None),
            (200, "cut", End::Stalled, None),
        ] {
            let response = send(client.get(&url), "it").await.expect("an answer");
            let answer = Answer::read(response, 100, Duration::from_secs(1)).await;
            assert_eq!((answer.status, &*answer.body, answer.end), (status, body.as_bytes(), end));
            assert_eq!(answer.retry_after().map(|wait| wait.as_secs()), wait);
        }
        let url = server(vec!["HTTP/1.1 200 x\r\ncontent-length: 200\r\n\r\nabcdef"]);
        let response = send(client.get(&url), "it").await.expect("an answer");
        assert_eq!(Answer::read(response, 5, Duration::from_secs(1)).await.end, End::Cut);
    }

    /// What is promised and does not come takes no room for what is not wanted.
    #[tokio::test]
    async fn a_body_of_a_known_length_gets_a_buffer_of_that_length() {
        let url = server(vec![
            "HTTP/1.1 200 x\r\ncontent-length: 11\r\n\r\nhello there",
            "HTTP/1.1 200 x\r\ncontent-length: 999999999999999999\r\n\r\ncut",
        ]);
        let client = client().expect("it is made");
        for (body, room) in [("hello there", 11), ("cut", 100)] {
            let response = send(client.get(&url), "it").await.expect("an answer");
            let answer = Answer::read(response, 100, Duration::from_secs(1)).await;
            assert_eq!((&*answer.body, answer.body.capacity()), (body.as_bytes(), room));
        }
    }

    /// A file of 100 MB that was copied for its request would be held twice.
    #[test]
    fn a_file_goes_out_as_it_came() {
        let bytes = Blob::from(vec![7; 1 << 20]);
        let file = Attachment { bytes: Some(bytes.clone()), ..Attachment::default() };
        let body = body(&file);
        let sent = body.as_bytes().expect("it is here");
        assert_eq!((sent.as_ptr(), sent.len()), (bytes.as_ptr(), bytes.len()));
        assert_eq!(super::body(&Attachment::default()).as_bytes(), Some(&b""[..]));
    }

    #[tokio::test]
    async fn what_is_not_reached_was_not_asked_and_its_url_is_not_told() {
        let client = client().expect("it is made");
        let error = send(client.get("http://127.0.0.1:1/token"), "Slack").await.expect_err("no server");
        assert!(matches!(error, PluginError::Retry { in_doubt: false, account: true, .. }), "{error:?}");
        assert!(error.reason().starts_with("Slack cannot be reached"), "{error:?}");
        assert!(!error.reason().contains("token"), "{error:?}");
    }

    /// A body that comes slowly is read to its end, one that stops coming is not waited for.
    #[tokio::test]
    async fn a_body_may_be_slow_and_not_stall() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for stalls in [false, true] {
                let (mut stream, _) = listener.accept().expect("a connection");
                let _ = stream.read(&mut [0; 4096]);
                // Without `close`, the client may send its next request into the connection that ends here.
                let head = b"HTTP/1.1 200 x\r\nconnection: close\r\ncontent-length: 8\r\n\r\n";
                stream.write_all(head).expect("it listens");
                for _ in 0..if stalls { 7 } else { 8 } {
                    std::thread::sleep(Duration::from_millis(300));
                    stream.write_all(b"x").expect("it listens");
                }
                if stalls {
                    let _ = stream.read(&mut [0; 1]);
                }
            }
        });
        let client = client().expect("it is made");
        let patience = Duration::from_secs(2);
        for want in [(8, End::Whole), (7, End::Stalled)] {
            let response = send(client.get(&url), "it").await.expect("an answer");
            let answer = Answer::read(response, 100, patience).await;
            assert_eq!((answer.body.len(), answer.end), want);
        }
    }
}

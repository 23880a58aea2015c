//! A request that a platform makes to us, after the runtime has checked its signature.

/// A webhook's request. The runtime has verified the signature over `body` by the scheme that the
/// manifest declares, and bounded the size, before the channel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRequest {
    /// `POST`, `GET` …
    pub method: String,
    /// What follows `?` in the URL, undecoded.
    pub query: String,
    /// Header names in lower case. Values that are not UTF-8 are left out.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl WebhookRequest {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// The answer to the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookResponse {
    /// The HTTP status.
    pub status: u16,
    /// One clear sentence, or what the platform's protocol asks for.
    pub body: String,
}

impl WebhookResponse {
    /// A plain-text answer.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        WebhookResponse { status, body: body.into() }
    }
}

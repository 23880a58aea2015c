//! What a platform is told: a channel's own answer, as far as its manifest says that it may. Pure.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use vestibule_plugin_api::Manifest;
use vestibule_plugin_api::wire::WebhookHead;

/// The headers of one answer, names and values, have so many bytes at most, together.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// An answer to a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    headers: HeaderMap,
    /// Its body.
    pub body: String,
    /// Why some of its headers are left out, if they are.
    pub left_out: Option<String>,
}

impl Answer {
    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<String>) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.into(), left_out: None }
    }

    /// What a channel of this manifest says; nothing if that has no status of an answer. Of its headers go those that the
    /// manifest lists and that a header can be.
    pub fn of_channel(manifest: &Manifest, head: WebhookHead) -> Option<Answer> {
        let status = StatusCode::from_u16(head.status).ok().filter(|status| status.as_u16() >= 200)?;
        let status = (status.as_u16() < 600).then_some(status)?;
        let mut answer = Answer::text(status, head.body);
        let mut bytes = 0;
        for (name, value) in head.headers {
            bytes += name.len() + value.len();
            let is_listed = manifest.answer_headers.iter().any(|listed| listed.eq_ignore_ascii_case(&name));
            let header = HeaderName::from_bytes(name.as_bytes()).ok();
            match (header, HeaderValue::from_str(&value)) {
                _ if bytes > HEADER_BYTES_MAX => {
                    let words = format!("its headers have more than {HEADER_BYTES_MAX} bytes");
                    return Some(Answer { headers: HeaderMap::new(), left_out: Some(words), ..answer });
                }
                (Some(header), Ok(value)) if is_listed => drop(answer.headers.append(header, value)),
                (_, Err(_)) if is_listed => {
                    answer.left_out = Some(format!("its `{name}` has characters that no header has"));
                }
                _ => {
                    let words = "its manifest does not list all headers of its answer as `answer_headers`";
                    answer.left_out = Some(words.to_owned());
                }
            }
        }
        Some(answer)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        // A content type takes the place of that of plain text.
        response.headers_mut().extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_answer_of_a_channel_goes_out() {
        let manifest = |words: &str| {
            let text = format!(
                r#"{{"name":"x","version":"1","kind":"channel","abi":1,"api":"0.2","channel_type":"x"{words}}}"#
            );
            Manifest::parse(text.as_bytes()).expect("it fits")
        };
        let listed = manifest(r#","answer_headers":["Content-Type","retry-after"]"#);
        let none = manifest("");
        let plain = ("content-type", "text/plain; charset=utf-8");
        let json = ("content-type", "application/json");
        let large = "x".repeat(HEADER_BYTES_MAX);
        for (manifest, headers, goes_out, left_out) in [
            (&none, &[][..], &[plain][..], None),
            (&none, &[json], &[plain], Some("does not list all")),
            (&listed, &[json], &[json], None),
            (
                &listed,
                &[("CONTENT-TYPE", "application/json"), ("Retry-After", "7")],
                &[json, ("retry-after", "7")],
                None,
            ),
            (&listed, &[json, ("x-other", "1")], &[json], Some("does not list all")),
            (&listed, &[json, ("transfer-encoding", "chunked")], &[json], Some("does not list all")),
            (&listed, &[("retry-after", "1\r\nx: y")], &[plain], Some("characters that no header has")),
            (&listed, &[json, ("retry-after", &large)], &[plain], Some("more than 8192 bytes")),
        ] {
            let headers =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let head = WebhookHead { status: 200, body: "told".into(), headers };
            let answer = Answer::of_channel(manifest, head).expect("it is one");
            let told = answer.left_out.clone().unwrap_or_default();
            assert_eq!(told.is_empty(), left_out.is_none(), "{told}");
            assert!(told.contains(left_out.unwrap_or_default()), "{told}");
            let response = answer.into_response();
            let mut out: Vec<_> = response.headers().iter().collect();
            out.retain(|(name, _)| *name != "content-length");
            let out: Vec<_> =
                out.into_iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            assert_eq!(out, goes_out);
        }
        for (status, is_one) in [
            (0, false),
            (101, false),
            (199, false),
            (200, true),
            (204, true),
            (418, true),
            (599, true),
            (600, false),
        ] {
            let head = WebhookHead { status, body: String::new(), headers: Vec::new() };
            let answer = Answer::of_channel(&none, head).map(|answer| answer.status.as_u16());
            assert_eq!(answer, is_one.then_some(status));
        }
    }
}

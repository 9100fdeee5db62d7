//! ▢ The answer to a request, after which the connection is closed.

use std::fmt::Write;

use crate::ws;

/// What tells a client that waits with its body to send it (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A status, header fields, and a JSON body unless the status is 204.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    status: u16,
    fields: String,
    body: Option<String>,
}

impl Answer {
    /// With a body, which has to be JSON.
    pub fn json(status: u16, body: String) -> Self {
        Self { status, fields: String::new(), body: Some(body) }
    }

    /// 204.
    pub fn no_content() -> Self {
        Self { status: 204, fields: String::new(), body: None }
    }

    /// `{"error","code"}`.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, serde_json::json!({ "error": message, "code": code }).to_string())
    }

    /// What an upgrade would be refused with.
    pub fn refusal(refusal: &ws::Refusal) -> Self {
        let answer = Self::error(refusal.status, refusal.reason.label(), &refusal.message);
        refusal.retry_after_s.map_or(answer.clone(), |seconds| answer.retry_after(seconds))
    }

    /// With a header field. A value that could end its line is left out.
    pub fn field(mut self, name: &'static str, value: &str) -> Self {
        if !value.contains(char::is_control) {
            // Writing to a String cannot fail.
            let _ = write!(self.fields, "{name}: {value}\r\n");
        }
        self
    }

    /// With the time after which it makes sense to try again.
    pub fn retry_after(self, seconds: u32) -> Self {
        self.field("Retry-After", &seconds.to_string())
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Appends the whole response.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (status, fields) = (self.status, &self.fields);
        let mut text = format!("HTTP/1.1 {status} {}\r\n", phrase(status));
        if let Some(body) = &self.body {
            let length = body.len();
            let _ = write!(
                text,
                "Content-Type: application/json\r\nContent-Length: {length}\r\n\
                 Cache-Control: no-store\r\n"
            );
        }
        let _ = write!(text, "Connection: close\r\n{fields}\r\n");
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(self.body.as_deref().unwrap_or_default().as_bytes());
    }
}

/// The reason phrases of RFC 9110 and RFC 6585 for what is answered here.
const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(answer: &Answer) -> String {
        let mut out = Vec::new();
        answer.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_error_is_a_whole_response() {
        let text = written(&Answer::error(413, "too_large", "\"x\"\r\n").retry_after(7));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 413 Content Too Large\r\n"), "{head}");
        for field in [
            format!("Content-Length: {}", body.len()),
            "Connection: close".to_owned(),
            "Retry-After: 7".to_owned(),
            "Content-Type: application/json".to_owned(),
        ] {
            assert!(head.lines().any(|line| line == field), "{field}: {head}");
        }
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body, serde_json::json!({"error": "\"x\"\r\n", "code": "too_large"}));
    }

    #[test]
    fn no_content_has_neither_body_nor_length() {
        let text = written(&Answer::no_content());
        assert_eq!(text, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn no_value_ends_its_line() {
        let text = written(&Answer::no_content().field("X", "a\r\nSet-Cookie: b").field("Y", "c"));
        assert!(!text.contains("Set-Cookie") && text.contains("Y: c\r\n"), "{text}");
    }

    #[test]
    fn what_refuses_an_upgrade_refuses_a_request() {
        let text = written(&Answer::refusal(&ws::Refusal::draining()));
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("Retry-After: ") && text.contains("\"code\":\"draining\""), "{text}");
        assert!(!written(&Answer::refusal(&ws::Refusal::origin())).contains("Retry-After"));
    }
}

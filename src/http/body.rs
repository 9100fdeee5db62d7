//! ▢ The body of a request: whether there is one, how long it is, and its gathering
//! (RFC 9112 section 6).

use std::fmt;

use crate::ws::{Head, Version, parse_head};

/// What a head announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Awaits {
    /// Length of the body; `None` where none is announced.
    pub body_bytes: Option<usize>,
    /// The client sends it once it has read `100 Continue`.
    pub wants_continue: bool,
}

/// Why a body is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyError {
    /// 411: in chunks, which are not taken: their length is not known before their end.
    Chunked,
    /// 501: in a transfer coding that is not known here.
    Coding,
    /// 400: a `Content-Length` that is no length, or more than one, or beside a coding.
    Length,
    /// 413: longer than this.
    TooLarge {
        /// The most that is taken.
        limit_bytes: usize,
    },
    /// 417: an `Expect` that is not `100-continue`.
    Expectation,
}

/// What follows `head`, of which at most `limit_bytes` are taken.
///
/// # Errors
/// [`BodyError`]; whatever the client goes on to send is of no use then.
pub fn announced_body(head: &Head<'_>, limit_bytes: usize) -> Result<Awaits, BodyError> {
    let length = head.single("Content-Length").map_err(|_| BodyError::Length)?;
    if let Some(coding) = head.single("Transfer-Encoding").map_err(|_| BodyError::Coding)? {
        // Two lengths are how requests are smuggled (RFC 9112 section 6.3).
        return Err(match length {
            Some(_) => BodyError::Length,
            None if coding.eq_ignore_ascii_case("chunked") => BodyError::Chunked,
            None => BodyError::Coding,
        });
    }
    let body_bytes = length.map(|digits| parse_length(digits, limit_bytes)).transpose()?;
    let expect = head.single("Expect").map_err(|_| BodyError::Expectation)?;
    let wants_continue = match expect {
        None => false,
        // RFC 9110 section 10.1.1: of an HTTP/1.0 client it means nothing.
        Some(_) if head.version == Version::Http10 => false,
        Some(expect) if expect.eq_ignore_ascii_case("100-continue") => true,
        Some(_) => return Err(BodyError::Expectation),
    };
    Ok(Awaits { body_bytes, wants_continue })
}

fn parse_length(digits: &str, limit_bytes: usize) -> Result<usize, BodyError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BodyError::Length);
    }
    // What does not fit is a length all the same.
    let length = digits.parse().unwrap_or(usize::MAX);
    if length <= limit_bytes { Ok(length) } else { Err(BodyError::TooLarge { limit_bytes }) }
}

impl BodyError {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Length => 400,
            Self::Chunked => 411,
            Self::TooLarge { .. } => 413,
            Self::Expectation => 417,
            Self::Coding => 501,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunked => out.write_str("Chunked bodies are not taken, send Content-Length"),
            Self::Coding => out.write_str("Transfer-Encoding is not known, send Content-Length"),
            Self::Length => out.write_str("Content-Length must be one number, and stand alone"),
            Self::TooLarge { limit_bytes } => {
                write!(out, "Body is longer than {limit_bytes} bytes")
            }
            Self::Expectation => out.write_str("Only 100-continue can be expected"),
        }
    }
}

impl std::error::Error for BodyError {}

/// A request whose body has not come whole. Grows with what comes, not by what was announced.
#[derive(Default, Debug)]
pub struct Upload {
    /// The head, and behind it what has come of the body.
    bytes: Vec<u8>,
    head_bytes: usize,
    body_bytes: usize,
}

impl Upload {
    /// `bytes`: a head of `head_bytes` with what has come behind it; `body_bytes`: what its
    /// head announces.
    pub fn new(bytes: &[u8], head_bytes: usize, body_bytes: usize) -> Self {
        let mut upload = Self { bytes: Vec::new(), head_bytes, body_bytes };
        upload.push(bytes);
        upload
    }

    /// Takes more of it. What comes after its end is thrown away.
    pub fn push(&mut self, bytes: &[u8]) {
        let missing = self.total_bytes().saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
    }

    /// Head and body, once both are whole.
    pub fn whole(&self) -> Option<(Head<'_>, &[u8])> {
        if self.bytes.len() < self.total_bytes() {
            return None;
        }
        // The head was parsed before: it has not changed.
        let (head, head_bytes) = parse_head(&self.bytes).ok().flatten()?;
        Some((head, self.bytes.get(head_bytes..)?))
    }

    /// Bytes that it holds.
    pub fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn total_bytes(&self) -> usize {
        self.head_bytes.saturating_add(self.body_bytes)
    }
}

#[cfg(test)]
mod tests;

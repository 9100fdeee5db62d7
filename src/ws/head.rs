//! ▢ The head of an HTTP/1.1 request, without a copy (RFC 9112).
//!
//! Knows nothing of WebSocket: [`super::upgrade`] does. It must not be asked again after
//! a refusal.

use super::refusal::Refusal;
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX};

/// The HTTP versions that are understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0: enough for a health check, not for an upgrade.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A request head, borrowing the bytes that it was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head<'b> {
    /// The method, as sent: methods are case-sensitive.
    pub method: &'b str,
    /// The path of the target, beginning with `/`, still percent-encoded.
    pub path: &'b str,
    /// What followed `?`, still percent-encoded.
    pub query: Option<&'b str>,
    /// The version.
    pub version: Version,
    fields: Vec<httparse::Header<'b>>,
}

/// Reads the head at the start of `bytes`: the head and its own length in bytes (what
/// follows may be frames already), or `None` where it is not complete.
///
/// Costs time linear in `bytes` on every call, which [`HEAD_BYTES_MAX`] bounds, so it may
/// be called again after every few bytes.
///
/// # Errors
/// 400 as soon as a byte cannot belong to a request, 431 past [`HEAD_BYTES_MAX`] or
/// [`HEAD_FIELDS_MAX`], whether or not the end has come.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(Head<'_>, usize)>, Refusal> {
    let window = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut fields = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let head_bytes = match request.parse(window) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if window.len() == HEAD_BYTES_MAX => {
            return Err(Refusal::head_too_long());
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::too_many_fields()),
        Err(error) => {
            return Err(Refusal::bad_handshake(format!("Not an HTTP/1.1 request: {error}")));
        }
    };
    let target = request.path.unwrap_or_default();
    let Some((path, query)) = split_target(target) else {
        return Err(Refusal::bad_handshake("Request target is not a path"));
    };
    let version = if request.version == Some(1) { Version::Http11 } else { Version::Http10 };
    let method = request.method.unwrap_or_default();
    let fields = request.headers.to_vec();
    Ok(Some((Head { method, path, query, version, fields }, head_bytes)))
}

impl<'b> Head<'b> {
    /// The value of a header field that may stand only once; `name` in any case.
    ///
    /// # Errors
    /// 400 where it stands twice, or its value is not text.
    pub fn single(&self, name: &str) -> Result<Option<&'b str>, Refusal> {
        let mut values = self.values(name);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Refusal::bad_handshake(format!("{name} stands more than once")));
        }
        match std::str::from_utf8(value) {
            Ok(value) => Ok(Some(value.trim_ascii())),
            Err(_) => Err(Refusal::bad_handshake(format!("{name} is not text"))),
        }
    }

    /// Whether `token`, in any case, is an element of the comma-separated field `name`,
    /// which may stand several times (RFC 9110 section 5.6.1).
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    fn values<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + 'n {
        let named = move |field: &&httparse::Header<'b>| field.name.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|field| field.value)
    }
}

/// Path and query of a target in origin form, or in the absolute form that a proxy is
/// sent (RFC 9112 section 3.2): every server has to take both.
fn split_target(target: &str) -> Option<(&str, Option<&str>)> {
    let local = if target.starts_with('/') {
        target
    } else {
        let (scheme, after) = target.split_once("://")?;
        if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        &after[after.find(['/', '?']).unwrap_or(after.len())..]
    };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (local, None),
    };
    Some((if path.is_empty() { "/" } else { path }, query))
}

#[cfg(test)]
mod tests;

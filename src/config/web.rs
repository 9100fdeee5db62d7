//! Values that come from the web: request paths and origins.

use super::source::Raw;
use super::value::{Refusal, refuse, text};

/// Longest path of a route; the request line that names it is bounded too.
const PATH_BYTES_MAX: usize = 256;

/// Most origins: each upgrade is compared with all of them.
const ORIGINS_MAX: usize = 256;

/// The path of a route: absolute, plain, and none that the gateway keeps to itself.
pub(super) fn path(raw: &Raw) -> Result<String, Refusal> {
    let example = "write for example \"/ws/asr\"";
    let path = text(raw, "a path", "/ws/asr")?;
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\"%\\".contains(&byte);
    if !path.starts_with('/') {
        return refuse("must start with \"/\"", example);
    }
    if path.len() > PATH_BYTES_MAX || !path.bytes().all(plain) {
        let limit = format!("must be at most {PATH_BYTES_MAX} plain ASCII characters, no query");
        return refuse(limit, example);
    }
    if path == "/healthz" || path == "/v1" || path.starts_with("/v1/") {
        return refuse("must not be one of the gateway's own (/healthz, /v1/…)", example);
    }
    Ok(path.to_owned())
}

/// Allowed origins: a list, or one text with commas; the word "any" is an empty list.
pub(super) fn origins(raw: &Raw) -> Result<Vec<String>, Refusal> {
    let wanted = "origins";
    let example = "https://app.example.com";
    let texts: Vec<&str> = match raw {
        Raw::List(items) => {
            items.iter().map(|item| text(item, wanted, example)).collect::<Result<_, _>>()?
        }
        raw => text(raw, wanted, example)?.split(',').collect(),
    };
    if let [only] = texts.as_slice()
        && only.trim().eq_ignore_ascii_case("any")
    {
        return Ok(Vec::new());
    }
    if texts.len() > ORIGINS_MAX {
        return refuse(format!("must be at most {ORIGINS_MAX} origins"), "name fewer, or \"any\"");
    }
    texts.into_iter().map(origin).collect()
}

/// One serialised origin (RFC 6454 section 6.2), in lower case, as browsers send it.
fn origin(text: &str) -> Result<String, Refusal> {
    let origin = text.trim().to_ascii_lowercase();
    let well_formed = origin.split_once("://").is_some_and(|(scheme, host)| {
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            && !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
    });
    if well_formed {
        return Ok(origin);
    }
    refuse(
        format!("{text:?} must be SCHEME://HOST[:PORT], without a path and without wildcards"),
        "write for example \"https://app.example.com\", or \"any\"",
    )
}

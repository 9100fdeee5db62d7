//! Values that come from the web: request paths, origins and names of hosts.

use super::source::Raw;
use super::value::{Refusal, refuse, text};

/// Longest path of a route; the request line that names it is bounded too.
const PATH_BYTES_MAX: usize = 256;

/// Most origins: each upgrade is compared with all of them.
const ORIGINS_MAX: usize = 256;

/// Most names of this host.
const HOSTS_MAX: usize = 64;

/// Longest name of a host (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

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
    let list = list(raw, "any", ORIGINS_MAX, "origins", "https://app.example.com")?;
    list.into_iter().map(origin).collect()
}

/// Names of hosts: a list, or one text with commas; the word "none" is an empty list.
pub(super) fn hosts(raw: &Raw) -> Result<Vec<String>, Refusal> {
    let list = list(raw, "none", HOSTS_MAX, "names of hosts", "gateway.example.com")?;
    list.into_iter().map(host).collect()
}

/// The texts of a list, or those between the commas of one text; none for `nothing`.
fn list<'a>(
    raw: &'a Raw,
    nothing: &str,
    count_max: usize,
    wanted: &str,
    example: &str,
) -> Result<Vec<&'a str>, Refusal> {
    let texts: Vec<&str> = match raw {
        Raw::List(items) => {
            items.iter().map(|item| text(item, wanted, example)).collect::<Result<_, _>>()?
        }
        raw => text(raw, wanted, example)?.split(',').collect(),
    };
    if let [only] = texts.as_slice()
        && only.trim().eq_ignore_ascii_case(nothing)
    {
        return Ok(Vec::new());
    }
    if texts.len() > count_max {
        let fix = format!("name fewer, or {nothing:?}");
        return refuse(format!("must be at most {count_max} {wanted}"), fix);
    }
    Ok(texts)
}

/// One name as it stands in `Host`, without the port, in lower case.
fn host(text: &str) -> Result<String, Refusal> {
    let name = text.trim().to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if name.len() <= HOST_BYTES_MAX && name.split('.').all(is_label) {
        return Ok(name);
    }
    refuse(
        format!("{text:?} must be the name of a host, without scheme and port"),
        "write for example \"gateway.example.com\", or \"none\"",
    )
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

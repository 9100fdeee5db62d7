//! The types of settings: how each is read, bounded, stored and shown.

use std::net::SocketAddr;

use super::redis_url::RedisUrl;
use super::source::Raw;
use super::value::{self, Refusal, refuse};
use super::web;
use crate::topics::ChannelPattern;

/// An inclusive range in the unit of its setting, and the reason for it.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Smallest value.
    pub min: u64,
    /// Largest value.
    pub max: u64,
    /// Why no less and no more.
    pub why: &'static str,
}

/// Stores a checked value in its place in `T`.
pub type Store<T, V> = fn(&mut T, V);

/// The type of a setting of `T`, with its range and the place where its value goes.
#[derive(Clone, Copy, Debug)]
pub enum Kind<T: 'static> {
    /// `IP:PORT`.
    Address(Store<T, SocketAddr>),
    /// `IP:PORT`, or `off`.
    OptionalAddress(Store<T, Option<SocketAddr>>),
    /// Cores among those that this process may use, or `all` of them.
    Cores(Store<T, Vec<usize>>),
    /// `redis://…`.
    RedisUrl(Store<T, RedisUrl>),
    /// `redis://…`, or `embedded`.
    OptionalRedisUrl(Store<T, Option<RedisUrl>>),
    /// A log level in any case.
    LogLevel(Store<T, log::LevelFilter>),
    /// A whole number.
    Count(Range, Store<T, usize>),
    /// A size in bytes.
    Bytes(Range, Store<T, usize>),
    /// A duration in steps of a millisecond.
    Milliseconds(Range, Store<T, u64>),
    /// A duration in steps of a microsecond.
    Microseconds(Range, Store<T, u64>),
    /// On or off.
    Switch(Store<T, bool>),
    /// A number from 0 to 1.
    Ratio(Store<T, f64>),
    /// Origins, or `any`.
    Origins(Store<T, Vec<String>>),
    /// Names of hosts, or `none`.
    Hosts(Store<T, Vec<String>>),
    /// The path of a route.
    Path(Store<T, String>),
    /// The path of a route, or `off`.
    OptionalPath(Store<T, Option<String>>),
    /// Text of so many bytes, no control characters.
    Text(Range, Store<T, String>),
    /// Channels of pub/sub, one for each topic.
    Channel(Store<T, ChannelPattern>),
    /// One of the known words.
    Word(Words, Store<T, &'static str>),
}

/// The words that a setting knows.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// Accepted.
    pub known: &'static [&'static str],
}

const CHANNEL_BYTES: Range =
    Range { min: 1, max: 512, why: "in bytes; it stands in every message of the broker" };

const LEVELS: &str = "error, warn, info, debug, trace or off";

impl<T> Kind<T> {
    /// Reads `raw`, stores it in `target` and gives the value as it is to be shown.
    /// `cores_allowed` are the cores that this process may use, in order.
    pub(super) fn read(
        &self,
        raw: &Raw,
        cores_allowed: &[usize],
        target: &mut T,
    ) -> Result<String, Refusal> {
        match *self {
            Self::Address(store) => {
                value::address(raw).map(|v| shown_then(v.to_string(), store, target, v))
            }
            Self::OptionalAddress(store) => value::unless(raw, "off", value::address)
                .map(|v| shown_then(or(&v, "off"), store, target, v)),
            Self::Cores(store) => cores(raw, cores_allowed)
                .map(|v| shown_then(value::show_cores(&v), store, target, v)),
            Self::RedisUrl(store) => {
                redis_url(raw).map(|v| shown_then(v.to_string(), store, target, v))
            }
            Self::OptionalRedisUrl(store) => value::unless(raw, "embedded", redis_url)
                .map(|v| shown_then(or(&v, "embedded"), store, target, v)),
            Self::LogLevel(store) => log_level(raw)
                .map(|v| shown_then(v.as_str().to_ascii_lowercase(), store, target, v)),
            Self::Count(range, store) => within(value::count(raw)?, range, |n| n.to_string())
                .map(|v| shown_then(v.to_string(), store, target, v as usize)),
            Self::Bytes(range, store) => within(value::bytes(raw)?, range, value::show_bytes)
                .map(|v| shown_then(value::show_bytes(v), store, target, v as usize)),
            Self::Milliseconds(range, store) => duration(raw, range, 1_000, store, target),
            Self::Microseconds(range, store) => duration(raw, range, 1, store, target),
            Self::Switch(store) => {
                value::switch(raw).map(|v| shown_then(v.to_string(), store, target, v))
            }
            Self::Ratio(store) => {
                value::ratio(raw).map(|v| shown_then(v.to_string(), store, target, v))
            }
            Self::Origins(store) => {
                web::origins(raw).map(|v| shown_then(joined_or(&v, "any"), store, target, v))
            }
            Self::Hosts(store) => {
                web::hosts(raw).map(|v| shown_then(joined_or(&v, "none"), store, target, v))
            }
            Self::Path(store) => web::path(raw).map(|v| shown_then(v.clone(), store, target, v)),
            Self::OptionalPath(store) => value::unless(raw, "off", web::path)
                .map(|v| shown_then(or(&v, "off"), store, target, v)),
            Self::Text(range, store) => {
                text(raw, range).map(|v| shown_then(format!("{v:?}"), store, target, v))
            }
            Self::Channel(store) => {
                channel(raw).map(|v| shown_then(format!("{:?}", v.to_string()), store, target, v))
            }
            Self::Word(words, store) => {
                word(raw, words).map(|v| shown_then(v.to_owned(), store, target, v))
            }
        }
    }

    /// What stands for the value in help: `--listen <IP:PORT>`.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Address(_) => "IP:PORT",
            Self::OptionalAddress(_) => "IP:PORT|off",
            Self::Cores(_) => "LIST|all",
            Self::RedisUrl(_) => "URL",
            Self::OptionalRedisUrl(_) => "URL|embedded",
            Self::LogLevel(_) => "LEVEL",
            Self::Count(..) => "COUNT",
            Self::Bytes(..) => "BYTES",
            Self::Milliseconds(..) | Self::Microseconds(..) => "DURATION",
            Self::Switch(_) => "true|false",
            Self::Ratio(_) => "RATIO",
            Self::Origins(_) => "LIST|any",
            Self::Hosts(_) => "LIST|none",
            Self::Path(_) => "PATH",
            Self::OptionalPath(_) => "PATH|off",
            Self::Text(..) => "TEXT",
            Self::Channel(_) => "CHANNEL",
            Self::Word(..) => "WORD",
        }
    }

    /// What a value has to be, its unit and its range with the reason, for people.
    pub fn describe(&self) -> String {
        let durations = "a duration in us, ms, s, min or h";
        match self {
            Self::Address(_) => "an IP address and a port".into(),
            Self::OptionalAddress(_) => "an IP address and a port, or off".into(),
            Self::Cores(_) => "core numbers such as 0-3,6, or all".into(),
            Self::RedisUrl(_) => "redis://[USER:PASSWORD@]HOST[:PORT][/DB]".into(),
            Self::OptionalRedisUrl(_) => {
                "redis://[USER:PASSWORD@]HOST[:PORT][/DB], or embedded".into()
            }
            Self::LogLevel(_) => format!("{LEVELS}, in any case"),
            Self::Count(range, _) => span("a number", range, |n| n.to_string()),
            Self::Bytes(range, _) => {
                span("a size in B, KiB, MiB, GiB or TiB", range, value::show_bytes)
            }
            Self::Milliseconds(range, _) => {
                span(durations, range, |ms| value::show_duration(ms, 1_000))
            }
            Self::Microseconds(range, _) => {
                span(durations, range, |us| value::show_duration(us, 1))
            }
            Self::Switch(_) => "true or false".into(),
            Self::Ratio(_) => "a number from 0 to 1".into(),
            Self::Origins(_) => "origins SCHEME://HOST[:PORT] joined by commas, or any".into(),
            Self::Hosts(_) => "names of this host joined by commas, or none".into(),
            Self::Path(_) => "a path from /".into(),
            Self::OptionalPath(_) => "a path from /, or off".into(),
            Self::Text(range, _) => span("a text, in bytes", range, |n| n.to_string()),
            Self::Channel(_) => {
                span("a text with {topic} in it once", &CHANNEL_BYTES, |n| n.to_string())
            }
            Self::Word(words, _) => format!("one of {}", words.known.join(", ")),
        }
    }
}

fn shown_then<T, V>(shown: String, store: Store<T, V>, target: &mut T, value: V) -> String {
    store(target, value);
    shown
}

fn or<V: ToString>(value: &Option<V>, nothing: &str) -> String {
    value.as_ref().map_or_else(|| nothing.to_owned(), V::to_string)
}

fn joined_or(texts: &[String], nothing: &str) -> String {
    if texts.is_empty() { nothing.to_owned() } else { texts.join(",") }
}

fn span(what: &str, range: &Range, show: impl Fn(u64) -> String) -> String {
    format!("{what}, {} to {} ({})", show(range.min), show(range.max), range.why)
}

fn within(value: u64, range: Range, show: impl Fn(u64) -> String) -> Result<u64, Refusal> {
    let Range { min, max, why } = range;
    let limit = || format!("must be {} to {} ({why})", show(min), show(max));
    if value < min {
        refuse(limit(), format!("write {} or more", show(min)))
    } else if value > max {
        refuse(limit(), format!("write {} or less", show(max)))
    } else {
        Ok(value)
    }
}

fn duration<T>(
    raw: &Raw,
    range: Range,
    step_us: u64,
    store: Store<T, u64>,
    target: &mut T,
) -> Result<String, Refusal> {
    let show = |steps| value::show_duration(steps, step_us);
    let steps = within(value::duration(raw, step_us)?, range, show)?;
    store(target, steps);
    Ok(show(steps))
}

fn cores(raw: &Raw, allowed: &[usize]) -> Result<Vec<usize>, Refusal> {
    let listed = value::unless(raw, "all", value::cores)?;
    let Some(listed) = listed else { return Ok(allowed.to_vec()) };
    match listed.iter().find(|core| !allowed.contains(core)) {
        None => Ok(listed),
        Some(core) => {
            let allowed = value::show_cores(allowed);
            refuse(
                format!("core {core} is not one that this process may use ({allowed})"),
                format!("write for example {allowed:?}, or \"all\""),
            )
        }
    }
}

fn redis_url(raw: &Raw) -> Result<RedisUrl, Refusal> {
    let example = "redis://127.0.0.1:6379/0";
    let text = value::text(raw, "a URL", example)?;
    text.parse().or_else(|limit: String| refuse(limit, format!("write for example {example:?}")))
}

fn log_level(raw: &Raw) -> Result<log::LevelFilter, Refusal> {
    let text = value::text(raw, "a log level", "info")?;
    text.trim()
        .parse()
        .or_else(|_| refuse(format!("must be {LEVELS}, in any case"), "write for example \"info\""))
}

fn text(raw: &Raw, range: Range) -> Result<String, Refusal> {
    let text = value::text(raw, "a text", "…")?;
    if text.chars().any(char::is_control) {
        return refuse("must not contain control characters", "leave them out");
    }
    within(text.len() as u64, range, |bytes| format!("{bytes} bytes"))?;
    Ok(text.to_owned())
}

fn channel(raw: &Raw) -> Result<ChannelPattern, Refusal> {
    let text = text(raw, CHANNEL_BYTES)?;
    ChannelPattern::parse(&text).map_or_else(
        || refuse("must have {topic} in it once", "write for example \"prices:{topic}\""),
        Ok,
    )
}

fn word(raw: &Raw, words: Words) -> Result<&'static str, Refusal> {
    let known = words.known.join("\", \"");
    let text = value::text(raw, "a word", words.known.first().unwrap_or(&""))?;
    if let Some(word) = words.known.iter().find(|word| **word == text) {
        return Ok(word);
    }
    refuse("is not known", format!("known here: \"{known}\""))
}

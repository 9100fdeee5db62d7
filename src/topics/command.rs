//! ▢ What clients say (contract, topics route).

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use super::{
    Topic,
    error::{ErrorCode, Problem},
};
use crate::{
    limits::{TOPICS_CONFLATE_MS_MAX, TOPICS_ECHO_CHARS, TOPICS_PER_REQUEST},
    tasks::json::{Text, is_object},
};

/// One message of a client. Its topics are different ones, in the order of the message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// From now on, what is published.
    Subscribe {
        /// Which.
        topics: Vec<Topic>,
        /// Period of the batches in milliseconds, 0: no batches; `None`: as the route has it.
        conflate_ms: Option<u32>,
    },
    /// No more of it.
    Unsubscribe {
        /// Which.
        topics: Vec<Topic>,
    },
    /// A sign of life.
    Ping,
}

impl Command {
    /// Reads a text message with at most `topics_max` topics.
    ///
    /// # Errors
    /// What to tell the client; nothing of the message is carried out then.
    pub fn parse(payload: &[u8], topics_max: usize) -> Result<Self, Problem> {
        let raw: Option<Raw<'_>> =
            if is_object(payload) { serde_json::from_slice(payload).ok() } else { None };
        let Some(raw) = raw else { return Err(bad_message(FORMS)) };
        match (raw.op, raw.kind) {
            (Some(Text(op)), _) => match &*op {
                "subscribe" => Ok(Self::Subscribe {
                    conflate_ms: raw.conflate_ms.map(period).transpose()?,
                    topics: topics(raw.topics, topics_max)?,
                }),
                "unsubscribe" => Ok(Self::Unsubscribe { topics: topics(raw.topics, topics_max)? }),
                other => Err(unknown("op", other)),
            },
            (None, Some(Text(kind))) if kind == "ping" => Ok(Self::Ping),
            (None, Some(Text(kind))) => Err(unknown("type", &kind)),
            (None, None) => Err(unknown("op", "")),
        }
    }
}

/// The start of a client's text, for an error message.
pub fn echo(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(TOPICS_ECHO_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// The name of a topic, or what to say of it.
///
/// # Errors
/// It is none.
pub fn topic(name: &str) -> Result<Topic, Problem> {
    Topic::parse(name)
        .map_err(|error| Problem::about(&echo(name), ErrorCode::BadTopic, error.to_string()))
}

/// The period that a client asks for.
///
/// # Errors
/// It is too long.
pub fn period(ms: u64) -> Result<u32, Problem> {
    let period_ms = u32::try_from(ms).ok().filter(|&ms| ms <= TOPICS_CONFLATE_MS_MAX);
    period_ms.ok_or_else(|| {
        bad_message(&format!("conflate_ms must be 0 to {TOPICS_CONFLATE_MS_MAX}, not {ms}"))
    })
}

/// What to say of a binary message.
pub fn not_text() -> Problem {
    bad_message(FORMS)
}

/// What to say of more topics in one request than `max`.
pub fn too_many(count: usize, max: usize) -> Problem {
    let message = format!("{count} topics in one request, at most {max} are allowed");
    Problem::new(ErrorCode::TooManyTopics, message)
}

const FORMS: &str = "a message is one JSON object in a text frame: \
    {\"op\":\"subscribe\",\"topics\":[\"a\"],\"conflate_ms\":0}, \
    {\"op\":\"unsubscribe\",\"topics\":[\"a\"]} or {\"type\":\"ping\"}";

fn bad_message(message: &str) -> Problem {
    Problem::new(ErrorCode::BadMessage, message)
}

fn unknown(key: &str, value: &str) -> Problem {
    Problem::new(ErrorCode::UnknownOp, format!("unknown {key}: {:?}", echo(value)))
}

fn topics(names: Option<Names<'_>>, max: usize) -> Result<Vec<Topic>, Problem> {
    let Some(Names { names, count }) = names else {
        return Err(bad_message("topics is missing: a list of names"));
    };
    if count > max || count > names.len() {
        return Err(too_many(count, max));
    }
    let mut seen = HashSet::with_capacity(names.len());
    let different = names.iter().filter(|name| seen.insert(&*name.0));
    different.map(|name| topic(&name.0)).collect()
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    op: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    topics: Option<Names<'a>>,
    conflate_ms: Option<u64>,
}

/// A list of names, of which no more are kept than could be allowed.
struct Names<'a> {
    names: Vec<Text<'a>>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Names<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut names, mut count) = (Vec::new(), 0);
        while let Some(name) = list.next_element::<Text<'de>>()? {
            if count < TOPICS_PER_REQUEST {
                names.push(name);
            }
            count += 1;
        }
        Ok(Names { names, count })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Command, ErrorCode> {
        Command::parse(text.as_bytes(), 3).map_err(|problem| problem.code)
    }

    fn topics_of(names: &[&str]) -> Vec<Topic> {
        names.iter().map(|name| Topic::parse(name).unwrap()).collect()
    }

    #[test]
    fn reads_what_clients_send() {
        let (topics, conflate_ms) = (topics_of(&["b", "a"]), Some(500));
        assert_eq!(
            parse(r#" {"topics":["b","a","b"],"op":"subscribe","conflate_ms":500,"x":{}}"#),
            Ok(Command::Subscribe { topics: topics.clone(), conflate_ms })
        );
        assert_eq!(
            parse(r#"{"op":"subscribe","topics":[],"conflate_ms":null}"#),
            Ok(Command::Subscribe { topics: Vec::new(), conflate_ms: None })
        );
        assert_eq!(
            parse(r#"{"op":"unsubscribe","topics":["\u0062","a"]}"#),
            Ok(Command::Unsubscribe { topics })
        );
        assert_eq!(parse(r#"{"type":"ping"}"#), Ok(Command::Ping));
    }

    #[test]
    fn says_what_is_wrong() {
        let overlong = format!(r#"{{"op":"subscribe","topics":["{}"]}}"#, "x".repeat(100_000));
        for (text, code) in [
            ("", ErrorCode::BadMessage),
            ("{", ErrorCode::BadMessage),
            ("[]", ErrorCode::BadMessage),
            (r#"["subscribe",null,["a"],0]"#, ErrorCode::BadMessage),
            (r#"{"op":"subscribe"}"#, ErrorCode::BadMessage),
            (r#"{"op":"subscribe","topics":"a"}"#, ErrorCode::BadMessage),
            (r#"{"op":"subscribe","topics":[1]}"#, ErrorCode::BadMessage),
            (r#"{"op":"subscribe","topics":["a"],"conflate_ms":-1}"#, ErrorCode::BadMessage),
            (r#"{"op":"subscribe","topics":["a"],"conflate_ms":60001}"#, ErrorCode::BadMessage),
            (r#"{"op":"subscribe","topics":["a"],"conflate_ms":1.5}"#, ErrorCode::BadMessage),
            (r#"{}"#, ErrorCode::UnknownOp),
            (r#"{"op":"publish","topics":["a"]}"#, ErrorCode::UnknownOp),
            (r#"{"type":"hello"}"#, ErrorCode::UnknownOp),
            (r#"{"op":"subscribe","topics":[""]}"#, ErrorCode::BadTopic),
            (r#"{"op":"subscribe","topics":[null]}"#, ErrorCode::BadTopic),
            (r#"{"op":"unsubscribe","topics":["a\u0000"]}"#, ErrorCode::BadTopic),
            (&overlong, ErrorCode::BadTopic),
            (r#"{"op":"subscribe","topics":["a","b","c","d"]}"#, ErrorCode::TooManyTopics),
            (r#"{"op":"subscribe","topics":["a","a","a","a"]}"#, ErrorCode::TooManyTopics),
        ] {
            assert_eq!(parse(text), Err(code), "{text:.80}");
        }
    }

    #[test]
    fn the_limit_is_named_and_what_is_repeated_is_short() {
        let text = br#"{"op":"subscribe","topics":["a","b","c","d"]}"#;
        let message = Command::parse(text, 3).unwrap_err().message;
        assert!(message.contains('4') && message.contains('3'), "{message}");
        let long = format!(r#"{{"op":"{}"}}"#, "ü".repeat(100_000));
        assert!(Command::parse(long.as_bytes(), 3).unwrap_err().message.len() < 200);
        let long = format!(r#"{{"op":"subscribe","topics":["{}"]}}"#, "ü".repeat(100_000));
        let topic = Command::parse(long.as_bytes(), 3).unwrap_err().topic.unwrap();
        assert!(topic.len() < 200);
    }

    #[test]
    fn a_list_past_every_limit_is_counted_and_not_kept() {
        let list = vec!["\"a\""; TOPICS_PER_REQUEST + 1].join(",");
        let text = format!(r#"{{"op":"subscribe","topics":[{list}]}}"#);
        let problem = Command::parse(text.as_bytes(), usize::MAX).unwrap_err();
        assert_eq!(problem.code, ErrorCode::TooManyTopics);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Command::parse(&payload, 3);
        }
    }
}

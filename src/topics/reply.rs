//! ▢ What clients are told: answers, errors, notices.

use serde::Serialize;

use super::{Topic, error::Problem};

/// The answer to a ping.
pub const PONG: &str = r#"{"type":"pong"}"#;

/// `{"op":"subscribed",…}`: what is published on these topics from now on is delivered.
pub fn subscribed(topics: &[Topic]) -> String {
    json(&Answer { op: "subscribed", topics: Names(topics) })
}

/// `{"op":"unsubscribed",…}`: nothing of these topics follows.
pub fn unsubscribed(topics: &[Topic]) -> String {
    json(&Answer { op: "unsubscribed", topics: Names(topics) })
}

/// `{"op":"lost",…}`: the connection missed so many messages.
pub fn lost(topic: &Topic, count: u64) -> String {
    json(&Lost { op: "lost", topic: topic.as_str(), count: Some(count), reason: None })
}

/// `{"op":"lost",…}`: nobody knows how many, for the connection to the broker was lost.
pub fn lost_in_gap(topic: &Topic) -> String {
    json(&Lost { op: "lost", topic: topic.as_str(), count: None, reason: Some("reconnect") })
}

/// `{"op":"error",…}`.
pub fn error(problem: &Problem) -> String {
    json(&Error {
        op: "error",
        code: problem.code.label(),
        message: &problem.message,
        topic: problem.topic.as_deref(),
    })
}

/// `text` as a JSON string, at the end of `out`.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Fails only where writing does, and a vector takes everything.
    let _ = serde_json::to_writer(out, text);
}

#[derive(Serialize)]
struct Answer<'a> {
    op: &'static str,
    topics: Names<'a>,
}

#[derive(Serialize)]
struct Lost<'a> {
    op: &'static str,
    topic: &'a str,
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Error<'a> {
    op: &'static str,
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
}

struct Names<'a>(&'a [Topic]);

impl Serialize for Names<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Topic::as_str))
    }
}

/// Strings, numbers and lists of them always have a JSON form.
fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::error::ErrorCode, *};

    #[test]
    fn messages_are_those_of_the_contract() {
        let topic = Topic::parse("a\"b").unwrap();
        let topics = [topic.clone(), Topic::parse("c").unwrap()];
        assert_eq!(subscribed(&topics), r#"{"op":"subscribed","topics":["a\"b","c"]}"#);
        assert_eq!(unsubscribed(&[]), r#"{"op":"unsubscribed","topics":[]}"#);
        assert_eq!(lost(&topic, 12), r#"{"op":"lost","topic":"a\"b","count":12}"#);
        let gap = r#"{"op":"lost","topic":"a\"b","count":null,"reason":"reconnect"}"#;
        assert_eq!(lost_in_gap(&topic), gap);
        let problem = Problem::new(ErrorCode::Busy, "no room");
        assert_eq!(error(&problem), r#"{"op":"error","code":"busy","message":"no room"}"#);
        let problem = Problem::about("t", ErrorCode::Refused, "no");
        let expected = r#"{"op":"error","code":"refused","message":"no","topic":"t"}"#;
        assert_eq!(error(&problem), expected);
    }
}

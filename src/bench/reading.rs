//! ▢ What a topics route says to its subscribers.

use serde::Deserialize;

/// One thing that a topics route said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A message of the load.
    Update {
        /// Which topic.
        topic: u32,
        /// Its number, from one.
        number: u64,
        /// When it was meant to be published.
        at_ns: u64,
    },
    /// A subscription is in force.
    Subscribed,
    /// Messages of a topic were missed.
    Lost {
        /// Which topic, where it is one of the load.
        topic: Option<u32>,
        /// How many, where that is known.
        count: Option<u64>,
    },
    /// A refusal: its code.
    Error(String),
    /// Anything else.
    Other,
}

#[derive(Deserialize)]
struct Said<'s> {
    op: Option<&'s str>,
    topic: Option<&'s str>,
    count: Option<u64>,
    code: Option<String>,
}

/// Everything that one message of the server says: one thing, or a batch.
pub fn items(message: &[u8]) -> Vec<Item> {
    if message.starts_with(br#"{"op""#) {
        let said = serde_json::from_slice::<Said<'_>>(message);
        return vec![match said {
            Ok(Said { op: Some("subscribed"), .. }) => Item::Subscribed,
            Ok(Said { op: Some("lost"), topic, count, .. }) => {
                let topic = topic.and_then(|topic| topic.strip_prefix('T')?.parse().ok());
                Item::Lost { topic, count }
            }
            Ok(Said { op: Some("error"), code, .. }) => {
                Item::Error(code.unwrap_or_else(|| "without a code".to_owned()))
            }
            _ => Item::Other,
        }];
    }
    let mut found = Vec::with_capacity(1);
    let mut rest = message;
    while let Some(topic) = number_after(&mut rest, br#""topic":"T"#) {
        let number = number_after(&mut rest, br#""s":"#);
        let at_ns = number_after(&mut rest, br#""t":"#);
        found.push(match number.zip(at_ns) {
            Some((number, at_ns)) => Item::Update { topic: topic as u32, number, at_ns },
            None => Item::Other,
        });
    }
    found
}

/// The number behind the next `mark`; `rest` goes on behind it.
fn number_after(rest: &mut &[u8], mark: &[u8]) -> Option<u64> {
    let at = rest.windows(mark.len()).position(|window| window == mark)?;
    let (mut number, mut after) = (0u64, rest.get(at + mark.len()..)?);
    while let [digit @ b'0'..=b'9', more @ ..] = after {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        after = more;
    }
    *rest = after;
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::publisher::payload;

    #[test]
    fn messages_batches_and_notices_are_told_apart() {
        let one = format!(r#"{{"topic":"T7","data":{}}}"#, payload(3, 99, 64));
        let update = |topic, number, at_ns| Item::Update { topic, number, at_ns };
        assert_eq!(items(one.as_bytes()), [update(7, 3, 99)]);
        let batch = format!(r#"[{one},{{"topic":"T12","data":{}}}]"#, payload(1, 5, 0));
        assert_eq!(items(batch.as_bytes()), [update(7, 3, 99), update(12, 1, 5)]);
        assert_eq!(items(br#"{"op":"subscribed","topics":["T1"]}"#), [Item::Subscribed]);
        let lost = br#"{"op":"lost","topic":"T1","count":12}"#;
        assert_eq!(items(lost), [Item::Lost { topic: Some(1), count: Some(12) }]);
        let gap = br#"{"op":"lost","topic":"x","count":null,"reason":"reconnect"}"#;
        assert_eq!(items(gap), [Item::Lost { topic: None, count: None }]);
        let refusal = br#"{"op":"error","code":"too_many_topics","message":"at \"most\" 3"}"#;
        assert_eq!(items(refusal), [Item::Error("too_many_topics".into())]);
        assert_eq!(items(b"[]"), []);
    }
}

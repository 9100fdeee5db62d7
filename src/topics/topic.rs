//! ▢ The name of a topic, and the channel that it is published on.

use std::{fmt, sync::Arc};

use crate::limits::TOPIC_BYTES_MAX;

/// A topic: 1 to [`TOPIC_BYTES_MAX`] bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Topic(Arc<str>);

/// The text is not the name of a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadTopic;

impl Topic {
    /// The topic that `text` names.
    ///
    /// # Errors
    /// [`BadTopic`] for an empty or overlong text, or one with a control character.
    pub fn parse(text: &str) -> Result<Self, BadTopic> {
        let length = 1..=TOPIC_BYTES_MAX;
        if length.contains(&text.len()) && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(BadTopic)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BadTopic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a topic is 1 to {TOPIC_BYTES_MAX} bytes without control characters")
    }
}

impl std::error::Error for BadTopic {}

/// Where the topics of a route are published: a text with `{topic}` in it, once. The default:
/// nothing else.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ChannelPattern {
    prefix: Box<str>,
    suffix: Box<str>,
}

/// What stands for the topic in a pattern.
const PLACE: &str = "{topic}";

impl ChannelPattern {
    /// The pattern that `text` spells; `None` without exactly one `{topic}`.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, suffix) = text.split_once(PLACE)?;
        (!suffix.contains(PLACE)).then(|| Self { prefix: prefix.into(), suffix: suffix.into() })
    }

    /// The channel of a topic.
    pub fn channel_of(&self, topic: &Topic) -> Arc<str> {
        format!("{}{}{}", self.prefix, topic.as_str(), self.suffix).into()
    }

    /// The text of the topic whose channel this is, if it is one of this pattern.
    pub fn topic_in<'c>(&self, channel: &'c str) -> Option<&'c str> {
        channel.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)
    }

    /// Whether every channel of the pattern is [reserved](is_reserved).
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.prefix)
    }

    /// Whether a channel could be one of both patterns, so that a message on it would belong
    /// to two routes.
    pub fn may_collide(&self, other: &Self) -> bool {
        let one_starts = |a: &str, b: &str| a.starts_with(b) || b.starts_with(a);
        let one_ends = |a: &str, b: &str| a.ends_with(b) || b.ends_with(a);
        one_starts(&self.prefix, &other.prefix) && one_ends(&self.suffix, &other.suffix)
    }
}

/// What the channels of results begin with, and those of the gateway itself (systems, Redis
/// contract; contract, tasks route). A topic on one of them would show everybody what workers
/// say to a session.
const RESERVED: [&str; 2] = ["asr_result_", "ringgate:"];

/// Whether no topic may be subscribed on `channel`.
pub fn is_reserved(channel: &str) -> bool {
    RESERVED.iter().any(|prefix| channel.starts_with(prefix))
}

impl fmt::Display for ChannelPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{PLACE}{}", self.prefix, self.suffix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_are_none_are_refused() {
        let longest = "x".repeat(TOPIC_BYTES_MAX);
        for good in ["AAPL", "prices/äöü 1", longest.as_str()] {
            assert_eq!(Topic::parse(good).unwrap().as_str(), good);
        }
        let too_long = format!("{longest}x");
        for bad in ["", "a\nb", "\u{0}", "a\u{7f}", too_long.as_str()] {
            assert_eq!(Topic::parse(bad), Err(BadTopic), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_has_one_place() {
        for bad in ["", "prices", "{topic}{topic}", "{ topic }"] {
            assert_eq!(ChannelPattern::parse(bad), None, "{bad:?}");
        }
        assert_eq!(ChannelPattern::parse("p:{topic}:x").unwrap().to_string(), "p:{topic}:x");
    }

    #[test]
    fn patterns_that_share_a_channel_collide() {
        let pattern = |text| ChannelPattern::parse(text).unwrap();
        for (one, other, expected) in [
            ("prices:{topic}", "news:{topic}", false),
            ("{topic}", "news:{topic}", true),
            ("a:{topic}", "a:b:{topic}", true),
            ("{topic}:a", "{topic}:b", false),
        ] {
            assert_eq!(pattern(one).may_collide(&pattern(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn channels_of_results_are_reserved() {
        let pattern = |text| ChannelPattern::parse(text).unwrap();
        assert!(pattern("asr_result_{topic}").is_reserved());
        assert!(pattern("ringgate:x:{topic}").is_reserved());
        assert!(!pattern("asr_{topic}").is_reserved() && !pattern("{topic}").is_reserved());
        let topic = Topic::parse("result_s1").unwrap();
        assert!(is_reserved(&pattern("asr_{topic}").channel_of(&topic)));
        assert!(!is_reserved(&pattern("{topic}").channel_of(&topic)));
    }

    proptest! {
        #[test]
        fn a_channel_leads_back_to_its_topic(
            prefix in "[a-z:]{0,8}", suffix in "[a-z:]{0,8}", name in "[^\\p{Cc}]{1,40}"
        ) {
            let pattern = ChannelPattern::parse(&format!("{prefix}{{topic}}{suffix}")).unwrap();
            let topic = Topic::parse(&name).unwrap();
            let channel = pattern.channel_of(&topic);
            prop_assert_eq!(pattern.topic_in(&channel), Some(name.as_str()));
        }
    }
}

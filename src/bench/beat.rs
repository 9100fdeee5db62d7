//! ▢ When each message of the topics is due: the publisher and all who count know it alike.

use serde::{Deserialize, Serialize};

/// Topics that tick in turn, evenly, from the origin of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Beat {
    /// Topics that tick, numbered from zero.
    pub topics: u32,
    /// From one message to the next one, which is of the next topic.
    every_ns: u64,
    /// When the first one is due.
    origin_ns: u64,
}

impl Beat {
    /// So many messages a second of each of the topics; from zero on until it is [`Beat::beginning_at`].
    pub fn new(topics: u32, ticks_per_second: f64) -> Self {
        let every_ns = 1e9 / (ticks_per_second * f64::from(topics.max(1)));
        Self { topics: topics.max(1), every_ns: (every_ns.round() as u64).max(1), origin_ns: 0 }
    }

    /// The same from `origin_ns` on.
    #[must_use]
    pub fn beginning_at(self, origin_ns: u64) -> Self {
        Self { origin_ns, ..self }
    }

    /// When the `nth` message, from zero, is due.
    pub fn due_ns(&self, nth: u64) -> u64 {
        self.origin_ns.saturating_add(nth.saturating_mul(self.every_ns))
    }

    /// How many messages are due before `time_ns`.
    pub fn messages_before(&self, time_ns: u64) -> u64 {
        time_ns.saturating_sub(self.origin_ns).div_ceil(self.every_ns)
    }

    /// Topic of the `nth` message, and its number there, from one.
    pub fn message(&self, nth: u64) -> (u32, u64) {
        let topics = u64::from(self.topics);
        ((nth % topics) as u32, nth / topics + 1)
    }

    /// The last number of a topic among the first so many messages; zero: none.
    pub fn last_of(&self, topic: u32, messages: u64) -> u64 {
        let topics = u64::from(self.topics);
        messages.saturating_add(topics - 1).saturating_sub(topic.into()) / topics
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_counted_is_what_is_published(
            topics in 1..50_u32,
            ticks in 0.01..1e6_f64,
            origin_ns in 0..1_000_000_000_000_u64,
            messages in 0..500_u64,
        ) {
            let beat = Beat::new(topics, ticks).beginning_at(origin_ns);
            let mut last = vec![0; topics as usize];
            for nth in 0..messages {
                let (topic, number) = beat.message(nth);
                prop_assert_eq!(number, last[topic as usize] + 1, "one after another");
                last[topic as usize] = number;
                prop_assert_eq!(beat.messages_before(beat.due_ns(nth)), nth);
                prop_assert_eq!(beat.messages_before(beat.due_ns(nth) + 1), nth + 1);
            }
            for topic in 0..topics {
                prop_assert_eq!(beat.last_of(topic, messages), last[topic as usize]);
            }
        }
    }
}

//! ▢ A `subscribe` that waits for the broker.

use super::Topic;

/// One request of one connection, which is answered when each of its topics is live or was
/// given up.
pub struct Request {
    /// What the answer will name.
    topics: Vec<Topic>,
    /// Slots of the interests that are not live yet.
    waits: Vec<u32>,
    /// When it is given up.
    pub deadline_ms: u64,
}

impl Request {
    /// For `topics`, of which those in the slots `waits` are not live.
    pub fn new(topics: Vec<Topic>, waits: Vec<u32>, deadline_ms: u64) -> Self {
        Self { topics, waits, deadline_ms }
    }

    /// The topic in `slot` is live.
    pub fn on_live(&mut self, slot: u32) {
        self.waits.retain(|&other| other != slot);
    }

    /// The connection does not have `topic`, which was in `slot`, any more.
    pub fn on_gone(&mut self, slot: u32, topic: &Topic) {
        self.on_live(slot);
        self.topics.retain(|other| other != topic);
    }

    /// Whether nothing is waited for.
    pub fn is_done(&self) -> bool {
        self.waits.is_empty()
    }

    /// Slots of what it waits for.
    pub fn waits(&self) -> &[u32] {
        &self.waits
    }

    /// The topics that it asked for and that were not given up.
    pub fn topics(&self) -> &[Topic] {
        &self.topics
    }
}

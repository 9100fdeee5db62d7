//! ▢ When a stream is looked after: its group is there, what is acknowledged is trimmed,
//! what dead workers held is queued again. One link of the process does it; that several
//! processes do is harmless, since a round is one step for Redis.

use std::sync::Arc;

use crate::limits::UPKEEP_MS;

/// A stream to look after.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamUpkeep {
    /// Name of the stream.
    pub key: Arc<str>,
    /// Name of its group.
    pub group: Arc<str>,
    /// How long a worker may hold a task before it is queued again.
    pub claim_idle_ms: u64,
}

/// The rounds of one link.
#[derive(Default, Debug)]
pub struct Upkeep {
    streams: Vec<StreamUpkeep>,
    next_ms: u64,
    unanswered: usize,
    /// A stream has more to do than one round may.
    more: bool,
}

impl Upkeep {
    /// Rounds over these streams.
    pub fn of(streams: Vec<StreamUpkeep>) -> Self {
        Self { streams, ..Self::default() }
    }

    /// The streams, if a round begins now; each is to be answered.
    pub fn begin(&mut self, now_ms: u64) -> &[StreamUpkeep] {
        if self.unanswered > 0 || now_ms < self.next_ms {
            return &[];
        }
        self.unanswered = self.streams.len();
        self.more = false;
        self.next_ms = now_ms.saturating_add(UPKEEP_MS);
        &self.streams
    }

    /// One stream of the round is done, or was refused.
    pub fn answered(&mut self, more: bool) {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.more |= more;
        if self.unanswered == 0 && self.more {
            self.next_ms = 0;
        }
    }

    /// What is unanswered stays so.
    pub fn connection_lost(&mut self) {
        self.unanswered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_follow_one_another_at_their_pace_and_at_once_where_there_is_more() {
        let stream =
            |key: &str| StreamUpkeep { key: key.into(), group: "g".into(), claim_idle_ms: 1 };
        let mut upkeep = Upkeep::of(vec![stream("a"), stream("b")]);
        assert_eq!(upkeep.begin(10).len(), 2);
        upkeep.answered(false);
        assert_eq!(upkeep.begin(10 + UPKEEP_MS).len(), 0, "one is not answered");
        upkeep.answered(false);
        assert_eq!(upkeep.begin(9 + UPKEEP_MS).len(), 0, "too soon");
        assert_eq!(upkeep.begin(10 + UPKEEP_MS).len(), 2);
        upkeep.answered(true);
        upkeep.answered(false);
        assert_eq!(upkeep.begin(11 + UPKEEP_MS).len(), 2, "there is more");
        upkeep.connection_lost();
        assert_eq!(upkeep.begin(11 + 2 * UPKEEP_MS).len(), 2);
    }
}

//! ▢ A session that goes from one shard to another.

use std::sync::Arc;

use super::{End, Session};
use crate::tasks::chunks::Answered;
use crate::tasks::context::Context;
use crate::tasks::cores::{Tenure, Travels};
use crate::tasks::result::WorkerResult;
use crate::tasks::ticket::SessionKey;

impl Travels for Session {
    fn tenure(&self) -> Option<Tenure> {
        self.tenure
    }
}

impl Session {
    /// The same, owned by its shard under `tenure`.
    pub fn of(self, tenure: Option<Tenure>) -> Self {
        Self { tenure, ..self }
    }

    /// Whether its results are heard by this shard.
    pub fn is_heard(&self) -> bool {
        self.confirmed
    }

    /// Whether a push of it is unanswered: the answer would come to this shard.
    pub fn is_pushing(&self) -> bool {
        self.chunks.pushing() > 0
    }

    /// It leaves its shard, where it is nobody's. What it has subscribed to for itself.
    pub fn leave(&mut self) -> Option<Arc<str>> {
        self.confirmed = false;
        self.armed_ms = None;
        // What the cache would have said, its next shard asks again.
        self.lookup = None;
        self.has_moved = true;
        self.channel.take()
    }

    /// It has come to a shard, which knows it as `key` and has yet to
    /// [`subscribe`](Self::subscribe). `channel`: what this shard hears of it still.
    pub fn arrive(&mut self, key: SessionKey, tenure: Tenure, channel: Option<Arc<str>>) {
        self.key = key;
        self.channel = channel;
        self.tenure = Some(tenure);
    }

    /// A result that another shard has heard, and that this one may have heard as well: one
    /// that is known already is no duplicate.
    pub fn on_forwarded(&mut self, result: &WorkerResult<'_>, cx: &mut Context<'_>) -> Option<End> {
        match self.chunks.answer(result, cx.text_limit_bytes) {
            Answered::Unknown => cx.metrics.results.orphaned.inc(),
            Answered::Duplicate => {}
            answered => self.on_answered(answered, result, cx),
        }
        self.conclude_if_settled(cx)
    }
}

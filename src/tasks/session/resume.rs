//! ▢ A session without its connection, and its next owner.

use super::{End, Session};
use crate::ids::SocketId;
use crate::tasks::chunks::Phase;
use crate::tasks::context::Context;
use crate::tasks::detached::DetachedNumber;

/// A session whose connection is gone.
#[derive(Clone, Copy, Debug)]
pub struct Detachment {
    /// Its place among the others.
    pub number: DetachedNumber,
    /// When it ends, unless somebody takes it over.
    pub until_ms: u64,
}

impl Session {
    /// Its connection is gone: what it would tell is kept.
    pub fn detach(&mut self, detachment: Detachment) {
        self.owner = None;
        self.detachment = Some(detachment);
        // Whoever comes is told everything.
        self.owed.clear();
    }

    /// From now on it is nobody's. What it was before, if nobody's already.
    pub fn release(&mut self) -> Option<Detachment> {
        self.owner = None;
        self.owed.clear();
        self.detachment.take()
    }

    /// From now on `owner` owns it, which was nobody's.
    pub fn attach(&mut self, owner: SocketId) {
        self.owner = Some(owner);
    }

    /// Since when it is nobody's.
    pub fn detachment(&self) -> Option<Detachment> {
        self.detachment
    }

    /// A new owner is told what is known so far.
    ///
    /// That is every result, also those that the old one was sent: what was written to a
    /// connection that died may never have been read, and a client drops what it has by
    /// `chunk_index`. Likewise the ack of every chunk that waits for its result.
    pub fn resume(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.owed.clear();
        for (ordinal, chunk) in (0..).zip(self.chunks.iter_mut()) {
            chunk.sent = false;
            chunk.acked &= matches!(chunk.phase, Phase::Answered(_));
            if !matches!(chunk.phase, Phase::Pushing) {
                self.owed.push_back(ordinal);
            }
        }
        if !self.confirmed {
            // Past its deadline it does not wait for a broker that is away.
            return self.conclude_if_settled(cx);
        }
        self.send_start_ack(cx);
        self.on_drained(cx)
    }

    /// Its owner can be told more.
    pub fn on_drained(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.send_owed(cx);
        self.conclude_if_settled(cx)
    }

    /// Whether a final result may go out now: somebody is there, and it is the last word.
    pub(super) fn can_end(&self, cx: &Context<'_>) -> bool {
        // Past its deadline a session also ends where nothing else could ever be told.
        let told_all = self.owed.is_empty() || !self.confirmed;
        self.owner.is_some() && told_all && !cx.flow.is_full()
    }
}

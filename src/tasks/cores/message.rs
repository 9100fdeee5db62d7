//! ▢ What shards tell each other about sessions, as plain values.

use crate::ids::ShardId;
use crate::tasks::id::SessionId;
use crate::tasks::session::Session;

/// One shard's turn at owning a session, from its claim on. Unique in the process: every
/// shard numbers its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tenure {
    /// Who claims.
    pub shard: ShardId,
    /// Which of its claims.
    pub number: u64,
}

/// A message about the sessions of one route.
#[derive(Debug)]
pub enum PeerMessage {
    /// To the id's home: whoever has the session is to give it up. Answer: `Vacant` from
    /// the home, or `Vacant` or `Moved` from the shard that had it.
    Claim {
        /// Whose session.
        id: SessionId,
        /// The claim.
        tenure: Tenure,
    },
    /// To the id's home: the session has ended under this tenure.
    Release {
        /// Whose session.
        id: SessionId,
        /// Whoever has claimed it since keeps it.
        tenure: Tenure,
    },
    /// From the home to the shard that has, or had, or is about to get the session.
    HandOver {
        /// Whose session.
        id: SessionId,
        /// The tenure that this ends.
        from: Tenure,
        /// The one that follows.
        to: Tenure,
    },
    /// There is no session: the claimant makes one.
    Vacant {
        /// Of the claim.
        tenure: Tenure,
    },
    /// The session itself.
    Moved(Parcel),
    /// To the shard that still hears the session's results for its new owner: the new
    /// owner hears them now.
    Heard {
        /// Whose session.
        id: SessionId,
        /// To whom that shard gave the session.
        tenure: Tenure,
    },
    /// A worker's result, heard by a shard that had the session.
    Result {
        /// Whose session.
        id: SessionId,
        /// As published.
        payload: Vec<u8>,
    },
}

/// A session on its way. Nothing that it asked of a broker is unanswered but, maybe, a
/// read of the cache, which its new owner repeats.
#[derive(Debug)]
pub struct Parcel {
    /// Of the claim that it answers.
    pub(in crate::tasks) tenure: Tenure,
    pub(in crate::tasks) session: Box<Session>,
    /// Who hears its channel until the new owner does.
    pub(in crate::tasks) relay: Option<Relay>,
}

/// A shard that hears a session's channel for its new owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relay {
    pub(in crate::tasks) shard: ShardId,
    /// To whom it gave the session, by which it knows what it relays.
    pub(in crate::tasks) tenure: Tenure,
}

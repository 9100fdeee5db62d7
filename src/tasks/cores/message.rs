//! ▢ What shards tell each other about sessions, as plain values.

use crate::ids::ShardId;
use crate::tasks::id::SessionId;
use crate::tasks::raw::RawSession;
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

/// A message about the sessions of one route. The last ones are about the results of a
/// session that is not where it is heard: of the default dialect, and of the raw one.
#[derive(Debug)]
pub enum PeerMessage {
    /// To the id's home: whoever has the session is to give it up. Answer: `Vacant` or
    /// `Taken` from the home, or `Vacant` or `Moved` from the shard that had it.
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
    /// Another route has a session of this id.
    Taken {
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
    /// To the ear of a raw session, from who is to give it up: what comes is kept until
    /// `HearFor`. Answer: `Paused`.
    Pause {
        /// Whose session.
        id: SessionId,
        /// The session's first tenure, by which its ear knows it.
        ear: Tenure,
    },
    /// From the ear: all that it heard before is on its way ahead of this.
    Paused {
        /// Whose session.
        id: SessionId,
        /// As in `Pause`.
        ear: Tenure,
    },
    /// To the ear, from the new owner: he gets what was kept, and what comes.
    HearFor {
        /// As in `Pause`.
        ear: Tenure,
        /// Who.
        owner: ShardId,
    },
    /// To the ear: the session has ended.
    Unhear {
        /// As in `Pause`.
        ear: Tenure,
    },
    /// From the ear to the owner: a result, as published.
    Overheard {
        /// Whose session.
        id: SessionId,
        /// As in `Pause`.
        ear: Tenure,
        /// What.
        payload: Box<[u8]>,
    },
    /// From the ear to the owner: so many results could not be kept.
    Missed {
        /// Whose session.
        id: SessionId,
        /// As in `Pause`.
        ear: Tenure,
        /// How many.
        count: u64,
    },
}

/// A session on its way. Nothing that it asked of a broker is unanswered but, maybe, a
/// read of the cache, which its new owner repeats.
#[derive(Debug)]
pub struct Parcel {
    /// Of the claim that it answers.
    pub(in crate::tasks) tenure: Tenure,
    pub(in crate::tasks) session: Moving,
}

/// A session of either dialect.
#[derive(Debug)]
pub enum Moving {
    /// Of the default one.
    Asr(Box<Session>, Option<Relay>),
    /// Of the raw one.
    Raw(Box<RawSession>),
}

/// A shard that hears a session's channel for its new owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relay {
    pub(in crate::tasks) shard: ShardId,
    /// To whom it gave the session, by which it knows what it relays.
    pub(in crate::tasks) tenure: Tenure,
}

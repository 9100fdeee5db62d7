//! ▢ What is asked about sessions, and what shards tell each other about them, as plain values.

use std::sync::Arc;

use super::{Refusal, SessionId, Start, UserId, UserKey};
use crate::{
    ids::{ShardId, SocketId},
    router::home_of,
    tasks::RouteTag,
};

/// What a client wants of a session's home.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// A new session.
    Create(Wish),
    /// How it stands with a session.
    Look {
        /// Which.
        id: SessionId,
        /// Who asks, if it says so.
        user: Option<UserId>,
    },
    /// Its end.
    Delete {
        /// Which.
        id: SessionId,
        /// Who asks, if it says so.
        user: Option<UserId>,
    },
    /// The session for a WebSocket, which has it from then on.
    Take {
        /// Which.
        id: SessionId,
        /// Who asks, if it says so.
        user: Option<UserId>,
        /// Where the WebSocket is to be.
        route: RouteTag,
    },
}

/// A session that there is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// For WebSockets of this route.
    pub route: RouteTag,
    /// Whose.
    pub user: UserKey,
    /// What its WebSocket begins with.
    pub start: Start,
}

/// What became of a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// There is a session.
    Created {
        /// Its name.
        id: SessionId,
        /// How long it waits.
        expires_in_ms: u64,
    },
    /// How it stands with it.
    Found {
        /// Its name.
        id: SessionId,
        /// With what it was created.
        start: Arc<Start>,
        /// Between two values of a topic.
        conflate_ms: u32,
        /// How much longer it waits; `None` once it has its WebSocket.
        expires_in_ms: Option<u64>,
    },
    /// It has ended.
    Deleted,
    /// It is the WebSocket's who asked.
    Taken {
        /// Its name.
        id: SessionId,
        /// What the WebSocket begins with.
        start: Arc<Start>,
    },
    /// No.
    Refused(Refusal),
}

/// A connection of some shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    /// Which shard.
    pub shard: ShardId,
    /// Which of its sockets.
    pub socket: SocketId,
}

/// A message about sessions.
#[derive(Debug)]
pub enum SessionMessage {
    /// To the session's home. Answer: `Reply`.
    Ask {
        /// Who is to be answered.
        from: Asker,
        /// What.
        question: Box<Question>,
    },
    /// From the home.
    Reply {
        /// Who asked.
        to: SocketId,
        /// What became of it.
        reply: Box<Reply>,
    },
    /// From the home to the shard that has the session's WebSocket: it is to be closed.
    Close {
        /// Whose.
        id: SessionId,
        /// Which.
        socket: SocketId,
    },
    /// To the home: the session's WebSocket is gone, or nobody was told of the session.
    Ended {
        /// Which.
        id: SessionId,
    },
}

impl Question {
    /// The shard that can answer it.
    pub fn home(&self, shards: usize) -> ShardId {
        match self {
            Self::Create(wish) => home_of(&wish.user.to_string(), shards),
            Self::Look { id, .. } | Self::Delete { id, .. } | Self::Take { id, .. } => id.home(),
        }
    }
}

impl SessionMessage {
    /// Whether its sender can do without it: it tells its client `busy`. All else is an answer
    /// that somebody waits for, or the end of a session.
    pub fn can_fail(&self) -> bool {
        matches!(self, Self::Ask { .. })
    }
}
